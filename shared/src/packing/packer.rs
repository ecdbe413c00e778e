//! Packing: lines go in, bytes come out as they are ready.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use zstd::stream::write::Encoder as ZstdEncoder;

use super::Compression;
use crate::domain::item_object::hex;

/// A file that is being packed. The same lines give the same bytes.
pub struct Packer {
    encoder: Encoder,
    counts: Counts,
    hash: Sha256,
}

/// What a packed file is, for the manifest that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Lines.
    pub items: u64,
    /// Bytes of the lines, with their ends.
    pub text_bytes: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    items: u64,
    text_bytes: u64,
    bytes: u64,
}

enum Encoder {
    None(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl Packer {
    /// An empty file.
    ///
    /// # Errors
    /// When there is no memory for the encoder.
    pub fn new(compression: Compression) -> io::Result<Self> {
        let encoder = match compression {
            Compression::None => Encoder::None(Vec::new()),
            Compression::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Compression::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?;
                // Without it, a flipped bit may go unseen.
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
        };
        Ok(Self { encoder, counts: Counts::default(), hash: Sha256::new() })
    }

    /// Adds a line, which has no end yet.
    ///
    /// # Errors
    /// When the encoder fails, after which the file is worth nothing.
    pub fn push(&mut self, line: &[u8]) -> io::Result<()> {
        for part in [line, b"\n"] {
            match &mut self.encoder {
                Encoder::None(out) => out.extend_from_slice(part),
                Encoder::Gzip(encoder) => encoder.write_all(part)?,
                Encoder::Zstd(encoder) => encoder.write_all(part)?,
            }
        }
        self.counts.items += 1;
        self.counts.text_bytes += line.len() as u64 + 1;
        Ok(())
    }

    /// How many bytes are ready to be taken.
    #[must_use]
    pub fn ready(&self) -> usize {
        match &self.encoder {
            Encoder::None(out) => out.len(),
            Encoder::Gzip(encoder) => encoder.get_ref().len(),
            Encoder::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    /// Takes the bytes that are ready, which the file goes on with; there may be none.
    pub fn take(&mut self) -> Bytes {
        let out = match &mut self.encoder {
            Encoder::None(out) => out,
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        };
        let taken = std::mem::take(out);
        self.account(taken)
    }

    /// Ends the file: its last bytes, and what all of it is.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn finish(mut self) -> io::Result<(Bytes, Packed)> {
        let last = match std::mem::replace(&mut self.encoder, Encoder::None(Vec::new())) {
            Encoder::None(out) => out,
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        let last = self.account(last);
        let Counts { items, text_bytes, bytes } = self.counts;
        Ok((last, Packed { items, text_bytes, bytes, sha256: hex(&self.hash.finalize()) }))
    }

    fn account(&mut self, bytes: Vec<u8>) -> Bytes {
        self.hash.update(&bytes);
        self.counts.bytes += bytes.len() as u64;
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rand::rngs::StdRng;
    use rand::{RngCore as _, SeedableRng as _};

    use super::*;

    fn packed(compression: Compression, lines: &[&str], take_every: usize) -> (Vec<u8>, Packed) {
        let (mut packer, mut file) = (Packer::new(compression).unwrap(), Vec::new());
        for (number, line) in lines.iter().enumerate() {
            packer.push(line.as_bytes()).unwrap();
            if number % take_every == 0 {
                let ready = packer.ready();
                let taken = packer.take();
                assert_eq!((ready, packer.ready()), (taken.len(), 0));
                file.extend_from_slice(&taken);
            }
        }
        let (last, packed) = packer.finish().unwrap();
        file.extend_from_slice(&last);
        (file, packed)
    }

    #[test]
    fn a_file_is_what_other_tools_read_and_is_counted_and_hashed() {
        let lines = ["{\"Item\":{}}", "", "two"].repeat(1000);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let (file, packed) = packed(compression, &lines, 7);

            let mut unpacked = String::new();
            match compression {
                Compression::None => unpacked = String::from_utf8(file.clone()).unwrap(),
                Compression::Gzip => {
                    let _ = flate2::read::GzDecoder::new(&file[..]).read_to_string(&mut unpacked).unwrap();
                }
                Compression::Zstd => unpacked = String::from_utf8(zstd::decode_all(&file[..]).unwrap()).unwrap(),
            }
            assert_eq!(unpacked, text, "{compression:?}");
            let expected = Packed {
                items: 3000,
                text_bytes: text.len() as u64,
                bytes: file.len() as u64,
                sha256: hex(&Sha256::digest(&file)),
            };
            assert_eq!(packed, expected, "{compression:?}");
        }
    }

    #[test]
    fn the_same_lines_give_the_same_bytes_however_they_are_taken() {
        let lines = ["one", "two", "three"].repeat(500);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(packed(compression, &lines, 1), packed(compression, &lines, 400), "{compression:?}");
        }
    }

    #[test]
    fn bytes_come_out_before_the_end() {
        let mut bytes = vec![0; 200_000];
        StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
        let line: Vec<u8> = bytes.iter().map(|byte| b'a' + byte % 16).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut packer = Packer::new(compression).unwrap();
            (0..5).for_each(|_| packer.push(&line).unwrap());

            assert!(packer.ready() > 10_000, "{compression:?}: {}", packer.ready());
        }
    }
}
