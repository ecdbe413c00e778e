//! Parts of an object's file.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::time::UNIX_EPOCH;

use super::{ObjectFile, found, number};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{Slice, Version};

impl ObjectFile {
    /// The bytes from one on. A file is never changed once it is an object, so that what is open stays what it is.
    pub(super) fn slice(&self, from: u64, most: u64, content: Option<&Version>) -> Result<Option<Slice>, Failure> {
        let failed = self.call.failed(&self.path);
        let Some(mut file) = found(File::open(&self.path)).map_err(&failed)? else { return Ok(None) };
        let about = file.metadata().map_err(&failed)?;
        if about.is_dir() {
            return Ok(None);
        }
        let is = identity(&about).map_err(&failed)?;
        if content.is_some_and(|content| *content != is) {
            return Err(self.call.refused(FailureKind::Conflict, "the object changed while it was read".to_owned()));
        }
        let size = about.len();
        let length = most.min(size.saturating_sub(from));
        let mut body = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        if length > 0 {
            file.seek(SeekFrom::Start(from)).map_err(&failed)?;
            file.take(length).read_to_end(&mut body).map_err(&failed)?;
        }
        if body.len() as u64 != length {
            return Err(self.call.refused(FailureKind::Unavailable, "the file became shorter meanwhile".to_owned()));
        }
        Ok(Some(Slice { body: body.into(), size, content: is }))
    }
}

/// Names the content without reading it: by the file's number, its length, and when it was written. It is not the
/// version that `get` gives, for which all of it would have to be read.
fn identity(about: &Metadata) -> io::Result<Version> {
    let written = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Version(format!("{}-{}-{}", number(about), about.len(), written.as_nanos())))
}
