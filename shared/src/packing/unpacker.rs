//! Unpacking: bytes go in as they arrive, lines come out.

use std::io::{self, BufRead, Read};

use bytes::{Buf as _, Bytes};
use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::Compression;

/// Bytes of the longest line.
///
/// An item has 400 KB at most (Amazon DynamoDB Developer Guide, "Quotas"), a byte of it takes six where it is a control
/// character (`\u0001`), and short values take several times their size as DynamoDB JSON.
pub const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of text after which lines are handed out, so that a little input that becomes a lot of text is not held.
const TEXT_BYTES: usize = 1024 * 1024;

/// A packed file that is being read: its lines, as far as its bytes are there.
///
/// Several files one after another are one text, as for `gunzip` and `zstd -d`. Checksums of the format come after what
/// they are of, so lines are final only when [`Unpacker::finish`] has given its last ones without an error.
pub struct Unpacker {
    decoder: Decoder,
    /// Text that is not handed out: the beginning of a line.
    rest: Vec<u8>,
    /// How much of it is known to have no end of line.
    searched: usize,
    is_empty: bool,
}

/// Why a file cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Something is missing at its end.
    #[error("it ends in the middle")]
    Truncated,
    /// It is not what it is said to be, or not any more.
    #[error("it is broken: {0}")]
    Corrupt(String),
    /// It cannot be a line of a backup.
    #[error("a line of it has more than {MAX_LINE_BYTES} bytes")]
    LongLine,
}

enum Decoder {
    None(Arrived),
    Gzip(Box<MultiGzDecoder<Arrived>>),
    Zstd(ZstdDecoder<'static, Arrived>),
}

/// The bytes that arrived and were not read. It has no end until it is said that no more will come.
#[derive(Debug, Default)]
struct Arrived {
    bytes: Bytes,
    is_whole: bool,
}

impl Unpacker {
    /// A file that nothing has arrived of.
    ///
    /// # Errors
    /// When there is no memory for the decoder.
    pub fn new(compression: Compression) -> io::Result<Self> {
        let decoder = match compression {
            Compression::None => Decoder::None(Arrived::default()),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(Arrived::default()))),
            Compression::Zstd => Decoder::Zstd(ZstdDecoder::with_buffer(Arrived::default())?),
        };
        Ok(Self { decoder, rest: Vec::new(), searched: 0, is_empty: true })
    }

    /// Adds what arrived. It is held until [`Unpacker::lines`] has read it: give some 64 KiB, then ask for lines until
    /// there are none.
    pub fn push(&mut self, bytes: Bytes) {
        self.is_empty &= bytes.is_empty();
        let arrived = self.arrived();
        arrived.bytes = match arrived.bytes.is_empty() {
            true => bytes,
            false => [&arrived.bytes[..], &bytes[..]].concat().into(),
        };
    }

    /// The next whole lines, about a megabyte of them, without their ends; none when more bytes are needed.
    ///
    /// # Errors
    /// `Broken`, after which the file is read no further.
    pub fn lines(&mut self) -> Result<Vec<Bytes>, Broken> {
        let mut lines = Vec::new();
        let mut taken = 0;
        let mut text = vec![0; 64 * 1024];
        while taken < TEXT_BYTES || lines.is_empty() {
            let count = match self.read(&mut text) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Broken::Truncated),
                Err(error) => return Err(Broken::Corrupt(error.to_string())),
            };
            taken += count;
            self.rest.extend_from_slice(&text[..count]);
            self.split(&mut lines);
            if self.rest.len() > MAX_LINE_BYTES {
                return Err(Broken::LongLine);
            }
        }
        Ok(lines)
    }

    /// Says that nothing more arrives. Lines may be left: ask until there are none; a last one without an end counts.
    ///
    /// A file without any bytes has no lines, however it is packed: DynamoDB's exports have such for empty partitions.
    ///
    /// # Errors
    /// `Broken` when it ends in the middle, or its checksum is another one.
    pub fn finish(&mut self) -> Result<Vec<Bytes>, Broken> {
        self.arrived().is_whole = true;
        if self.is_empty {
            return Ok(Vec::new());
        }
        let mut lines = self.lines()?;
        if lines.is_empty() && !self.rest.is_empty() {
            self.searched = 0;
            lines.push(line(&std::mem::take(&mut self.rest)));
        }
        Ok(lines)
    }

    fn split(&mut self, lines: &mut Vec<Bytes>) {
        let mut from = 0;
        while let Some(end) = self.rest[self.searched..].iter().position(|&byte| byte == b'\n') {
            let end = self.searched + end;
            lines.push(line(&self.rest[from..end]));
            from = end + 1;
            self.searched = from;
        }
        self.rest.drain(..from);
        self.searched = self.rest.len();
    }

    fn read(&mut self, text: &mut [u8]) -> io::Result<usize> {
        match &mut self.decoder {
            Decoder::None(arrived) => arrived.read(text),
            Decoder::Gzip(decoder) => decoder.read(text),
            Decoder::Zstd(decoder) => decoder.read(text),
        }
    }

    fn arrived(&mut self) -> &mut Arrived {
        match &mut self.decoder {
            Decoder::None(arrived) => arrived,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

fn line(text: &[u8]) -> Bytes {
    Bytes::copy_from_slice(text.strip_suffix(b"\r").unwrap_or(text))
}

impl BufRead for Arrived {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.bytes.is_empty() && !self.is_whole {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.bytes)
    }

    fn consume(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Read for Arrived {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;

    use super::*;
    use crate::packing::Packer;

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    /// Reads a file that arrives in slices.
    fn unpacked(compression: Compression, file: &[u8], slice: usize) -> Result<Vec<Bytes>, Broken> {
        let mut unpacker = Unpacker::new(compression).unwrap();
        let mut all = Vec::new();
        let mut slices = file.chunks(slice);
        loop {
            let slice = slices.next();
            if let Some(slice) = slice {
                unpacker.push(Bytes::copy_from_slice(slice));
            }
            loop {
                let lines = if slice.is_some() { unpacker.lines()? } else { unpacker.finish()? };
                if lines.is_empty() {
                    break;
                }
                all.extend(lines);
            }
            if slice.is_none() {
                return Ok(all);
            }
        }
    }

    fn packed(compression: Compression, lines: &[Bytes]) -> Vec<u8> {
        let mut packer = Packer::new(compression).unwrap();
        lines.iter().for_each(|line| packer.push(line).unwrap());
        packer.finish().unwrap().0.to_vec()
    }

    fn lines(count: u32) -> Vec<Bytes> {
        (0..count).map(|n| format!("{{\"Item\":{{\"id\":{{\"N\":\"{n}\"}}}}}}").into()).collect()
    }

    #[test]
    fn lines_come_back_whatever_the_slices_are() {
        let lines = lines(300);
        for compression in ALL {
            let file = packed(compression, &lines);
            for slice in [1, 2, 7, 64, 1000, file.len()] {
                assert_eq!(unpacked(compression, &file, slice).as_ref(), Ok(&lines), "{compression:?} by {slice}");
            }
        }
    }

    #[test]
    fn blank_lines_carriage_returns_and_a_last_line_without_an_end_are_lines() {
        let text = b"one\r\n\n\r\ntwo";
        for (slice, _) in text.iter().enumerate() {
            let lines = unpacked(Compression::None, text, slice + 1).unwrap();

            assert_eq!(lines, ["one", "", "", "two"].map(|line| Bytes::from_static(line.as_bytes())), "{slice}");
        }
    }

    #[test]
    fn a_file_that_is_cut_is_an_error_wherever_it_is_cut() {
        let lines = lines(20);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let file = packed(compression, &lines);
            for end in 1..file.len() {
                for slice in [5, file.len()] {
                    let read = unpacked(compression, &file[..end], slice);
                    assert_eq!(read, Err(Broken::Truncated), "{compression:?} to {end} of {}", file.len());
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_changes_nothing() {
        let lines = lines(20);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let file = packed(compression, &lines);
            let mut unseen = 0;
            for (at, bit) in (0..file.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut flipped = file.clone();
                flipped[at] ^= 1 << bit;
                match unpacked(compression, &flipped, 1000) {
                    Ok(read) => {
                        assert_eq!(read, lines, "{compression:?}: bit {bit} of byte {at}");
                        unseen += 1;
                    }
                    Err(error) => assert_ne!(error, Broken::LongLine),
                }
            }
            // The time, the flags and the system in gzip's header say nothing of the text.
            assert!(unseen < 80, "{compression:?}: {unseen}");
        }
    }

    #[test]
    fn what_is_no_packed_file_is_an_error() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let read = unpacked(compression, b"{\"Item\":{\"id\":{\"S\":\"not packed at all\"}}}\n", 1000);
            assert!(matches!(read, Err(Broken::Corrupt(_))), "{compression:?}: {read:?}");
            let garbage = [packed(compression, &lines(3)), b"garbage after its end".to_vec()].concat();
            let read = unpacked(compression, &garbage, 1000);
            assert!(matches!(read, Err(Broken::Corrupt(_))), "{compression:?}: {read:?}");
        }
    }

    #[test]
    fn many_files_one_after_another_are_one_text_even_where_they_part_a_line() {
        let lines = lines(100);
        let text: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
        let gzip = |part: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(part).unwrap();
            encoder.finish().unwrap()
        };
        let gzip: Vec<u8> = text.chunks(33).flat_map(gzip).collect();
        let zstd: Vec<u8> = text.chunks(33).flat_map(|part| zstd::encode_all(part, 1).unwrap()).collect();
        for (compression, file) in [(Compression::Gzip, gzip), (Compression::Zstd, zstd)] {
            for slice in [1, 10, 1000, file.len()] {
                assert_eq!(unpacked(compression, &file, slice).as_ref(), Ok(&lines), "{compression:?} by {slice}");
            }
        }
    }

    #[test]
    fn no_bytes_and_no_lines_are_no_lines() {
        for compression in ALL {
            assert_eq!(unpacked(compression, b"", 1), Ok(Vec::new()), "{compression:?}");
            assert_eq!(unpacked(compression, &packed(compression, &[]), 1), Ok(Vec::new()), "{compression:?}");
        }
    }

    #[test]
    fn a_little_that_becomes_a_lot_is_handed_out_bit_by_bit() {
        let line = Bytes::from(vec![b'x'; 100_000]);
        let file = packed(Compression::Zstd, &vec![line.clone(); 300]);
        assert!(file.len() < 64 * 1024, "{}", file.len());
        let mut unpacker = Unpacker::new(Compression::Zstd).unwrap();
        unpacker.push(file.into());

        let (mut rounds, mut count) = (0, 0);
        loop {
            let lines = unpacker.lines().unwrap();
            if lines.is_empty() {
                break;
            }
            assert!(lines.len() <= 12 && lines.iter().all(|one| *one == line), "{} at once", lines.len());
            (rounds, count) = (rounds + 1, count + lines.len());
        }
        assert_eq!(count, 300);
        assert!(rounds > 20, "{rounds}");
    }

    #[test]
    fn a_line_that_is_too_long_is_an_error_and_not_held() {
        let line = Bytes::from(vec![b'x'; MAX_LINE_BYTES]);
        for compression in ALL {
            let longest = packed(compression, std::slice::from_ref(&line));
            let read = unpacked(compression, &longest, 64 * 1024).unwrap();
            assert!(read == [line.clone()], "{compression:?}: the longest line is one");

            let longer = packed(compression, &[[&line[..], &[b'x'; 128 * 1024]].concat().into()]);
            assert_eq!(unpacked(compression, &longer, 64 * 1024).unwrap_err(), Broken::LongLine, "{compression:?}");
        }
    }
}
