//! Files of many items: fetched in slices, unpacked, and held against what is known of them.
//!
//! A file that is small enough is held against its checksum before any of its items is handed on, so that nothing of a
//! damaged file gets into a table; a bigger one, which only other programs write, at its end.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use shared::domain::backup::{Checksum, ItemFile};
use shared::domain::checkpoint::{Position, Reached};
use shared::domain::item_line;
use shared::domain::item_object::hex;
use shared::domain::key::KeySchema;
use shared::packing::Unpacker;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::objects::{ObjectStore, Version};
use shared::retry::{self, RetryPolicy};

use super::{Batch, Own};

/// Bytes that are fetched at once.
const SLICE_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes that are unpacked at once; they may become a thousand times as many.
const UNPACKED_AT_ONCE: usize = 64 * 1024;

/// Size up to which a file is fetched and checked as a whole first. dynamend's own are smaller.
const WHOLE_BYTES: u64 = 80 * 1024 * 1024;

/// Items and bytes of text that are handed on at once.
const BATCH_ITEMS: usize = 400;
const BATCH_BYTES: usize = 1024 * 1024;

/// The files of one unit.
pub(crate) struct Files<'a> {
    store: &'a dyn ObjectStore,
    files: &'a [ItemFile],
    own: Own,
    schema: &'a KeySchema,
    retry: RetryPolicy,
    /// Which of the unit's files comes next, or is open.
    file: u64,
    /// Lines of it that are done already.
    done: u64,
    open: Option<Open>,
}

/// A file on its way.
struct Open {
    /// All of it, for one that was fetched first.
    whole: Option<Bytes>,
    content: Option<Version>,
    at: u64,
    /// What was fetched and not unpacked.
    fetched: Bytes,
    ended: bool,
    unpacker: Unpacker,
    /// The checksum of what was read, of the kind that is known of the file.
    sum: Sum,
    lines: VecDeque<Bytes>,
    /// Lines handed out, blank ones included, and items among them.
    handed: u64,
    items: u64,
}

impl<'a> Files<'a> {
    pub(super) fn begin(
        store: &'a dyn ObjectStore,
        files: &'a [ItemFile],
        own: Own,
        (file, done): (u64, u64),
        schema: &'a KeySchema,
        retry: RetryPolicy,
    ) -> Self {
        Self { store, files, own, schema, retry, file, done, open: None }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        let Some(file) = self.own.nth(self.file).and_then(|n| self.files.get(n)) else { return Ok(None) };
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_file(file).await?,
        };
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.items.len() < BATCH_ITEMS && bytes < BATCH_BYTES {
            let Some(line) = self.line(file, &mut open).await? else {
                self.check_end(file, &open)?;
                self.file += 1;
                self.done = 0;
                batch.next = Position::Source(Reached::File { file: self.file, lines: 0 });
                return Ok(Some(batch));
            };
            open.handed += 1;
            bytes += line.len();
            let item = item_line::read(&line, file.layout, self.schema)
                .map_err(|error| self.bad(file, format!("in line {}, {error}", open.handed)))?;
            let Some((item, _)) = item else {
                batch.met.blank += u64::from(open.handed > self.done);
                continue;
            };
            open.items += 1;
            if open.handed <= self.done {
                continue;
            }
            batch.items.push(item);
        }
        batch.next = Position::Source(Reached::File { file: self.file, lines: open.handed.max(self.done) });
        self.open = Some(open);
        Ok(Some(batch))
    }

    /// Opens a file; one that is small enough is fetched and checked first.
    async fn open_file(&self, file: &ItemFile) -> Result<Open, Failure> {
        let mut open = Open {
            whole: None,
            content: None,
            at: 0,
            fetched: Bytes::new(),
            ended: false,
            unpacker: Unpacker::new(file.compression).map_err(|error| self.bad(file, error.to_string()))?,
            sum: Sum::of(file.checksum.as_ref()),
            lines: VecDeque::new(),
            handed: 0,
            items: 0,
        };
        let first = self.slice(file, 0, None).await?;
        if file.stored_bytes.is_some_and(|expected| expected != first.size) {
            let message = format!(
                "it has {} bytes and should have {}: it was cut off or changed",
                first.size,
                file.stored_bytes.unwrap_or_default()
            );
            return Err(self.bad(file, message));
        }
        open.content = Some(first.content.clone());
        if first.size <= WHOLE_BYTES {
            let mut whole = BytesMut::from(&first.body[..]);
            while (whole.len() as u64) < first.size {
                let more = self.slice(file, whole.len() as u64, open.content.as_ref()).await?;
                if more.body.is_empty() {
                    return Err(self.bad(file, "it ended before its size".to_owned()));
                }
                whole.extend_from_slice(&more.body);
            }
            let whole = whole.freeze();
            let mut sum = Sum::of(file.checksum.as_ref());
            sum.add(&whole);
            self.check_sum(file, sum)?;
            open.whole = Some(whole);
        }
        Ok(open)
    }

    async fn slice(
        &self,
        file: &ItemFile,
        from: u64,
        content: Option<&Version>,
    ) -> Result<shared::ports::objects::Slice, Failure> {
        let slice = retry::call(self.retry, || self.store.slice(&file.key, from, SLICE_BYTES, content)).await?;
        slice.ok_or_else(|| Failure {
            kind: FailureKind::NotFound,
            operation: "Read",
            resource: self.store.url(&file.key),
            message: "it is gone, and the backup is not whole without it".to_owned(),
        })
    }

    /// The next line of a file; none at its end.
    async fn line(&self, file: &ItemFile, open: &mut Open) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(line) = open.lines.pop_front() {
                return Ok(Some(line));
            }
            let broken = |error: shared::packing::Broken| self.bad(file, error.to_string());
            if open.ended {
                open.lines.extend(open.unpacker.finish().map_err(broken)?);
                if open.lines.is_empty() {
                    return Ok(None);
                }
                continue;
            }
            open.lines.extend(open.unpacker.lines().map_err(broken)?);
            if !open.lines.is_empty() {
                continue;
            }
            if open.fetched.is_empty() {
                open.fetched = match &open.whole {
                    Some(whole) => whole.slice(usize::try_from(open.at).unwrap_or(whole.len()).min(whole.len())..),
                    None => self.slice(file, open.at, open.content.as_ref()).await?.body,
                };
                open.at += open.fetched.len() as u64;
                open.ended = open.fetched.is_empty();
            }
            let piece = open.fetched.split_to(open.fetched.len().min(UNPACKED_AT_ONCE));
            open.sum.add(&piece);
            open.unpacker.push(piece);
        }
    }

    /// Holds a file that was read to its end against what is known of it.
    fn check_end(&self, file: &ItemFile, open: &Open) -> Result<(), Failure> {
        self.check_sum(file, open.sum.clone())?;
        match file.items {
            Some(expected) if expected != open.items => {
                Err(self.bad(file, format!("it has {} items and should have {expected}", open.items)))
            }
            _ => Ok(()),
        }
    }

    fn check_sum(&self, file: &ItemFile, sum: Sum) -> Result<(), Failure> {
        let (kind, expected) = match &file.checksum {
            None => return Ok(()),
            Some(Checksum::Sha256(expected)) => ("SHA-256", expected),
            Some(Checksum::Md5(expected)) => ("MD5", expected),
        };
        if sum.finish().as_ref() == Some(expected) {
            return Ok(());
        }
        Err(self.bad(file, format!("its {kind} is not {expected}: it was cut off or changed")))
    }

    fn bad(&self, file: &ItemFile, message: String) -> Failure {
        let resource = self.store.url(&file.key);
        Failure { kind: FailureKind::Invalid, operation: "Read", resource, message }
    }
}

/// A checksum on its way.
#[derive(Clone)]
enum Sum {
    None,
    Sha256(Sha256),
    Md5(Md5),
}

impl Sum {
    fn of(checksum: Option<&Checksum>) -> Self {
        match checksum {
            None => Self::None,
            Some(Checksum::Sha256(_)) => Self::Sha256(Sha256::new()),
            Some(Checksum::Md5(_)) => Self::Md5(Md5::new()),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Sha256(sum) => sum.update(bytes),
            Self::Md5(sum) => sum.update(bytes),
        }
    }

    fn finish(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Sha256(sum) => Some(hex(&sum.finalize())),
            Self::Md5(sum) => Some(hex(&sum.finalize())),
        }
    }
}
