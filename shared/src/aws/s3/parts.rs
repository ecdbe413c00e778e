//! The parts of an object: how big each is, and what they make together.

use aws_sdk_s3::types::CompletedPart;
use md5::{Digest as _, Md5};

/// The size of the first parts. Each but the last must have 5 MiB at least.
///
/// Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits".
pub(super) const PART_SIZE: usize = 8 << 20;

/// Parts of one size, before they become twice as big: what is held grows with what was sent.
const PARTS_OF_A_SIZE: usize = 1000;

/// How often they become twice as big, to 512 MiB, so that 10,000 of them make an object of 2.6 TB.
const DOUBLINGS: usize = 6;

/// Parts of an object.
///
/// Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits".
pub(super) const MAX_PARTS: usize = 10_000;

/// The size of a part, by how many come before it.
pub(super) fn part_size(parts_before: usize) -> usize {
    PART_SIZE << (parts_before / PARTS_OF_A_SIZE).min(DOUBLINGS)
}

/// The ETag of an object of these parts, where theirs are MD5 sums, as they are without KMS.
///
/// Source: Amazon S3 User Guide, "Checking object integrity", "Using Content-MD5 and the ETag".
pub(super) fn etag_of(parts: &[CompletedPart]) -> Option<String> {
    let mut sums = Md5::new();
    for part in parts {
        let digits = part.e_tag()?.trim_matches('"');
        sums.update(u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32)?.to_be_bytes());
    }
    let sum: String = sums.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{sum}-{}", parts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_ten_thousand_hold_terabytes() {
        assert_eq!([0, 999, 1000, 2000].map(part_size), [PART_SIZE, PART_SIZE, 2 * PART_SIZE, 4 * PART_SIZE]);
        assert_eq!([6000, 9999].map(part_size), [512 << 20, 512 << 20]);
        let most: usize = (0..MAX_PARTS).map(part_size).sum();
        assert!(most > 2_600_000_000_000, "{most}");
    }

    #[test]
    fn an_etag_comes_of_sums_only() {
        let part = |etag: &str| CompletedPart::builder().e_tag(etag).build();
        let sum = "\"d41d8cd98f00b204e9800998ecf8427e\"";

        assert_eq!(etag_of(&[part(sum), part(sum)]).unwrap(), "5873dd45edd01f09c1ef2e7819369e8e-2");
        for other in ["\"d41d8cd98f00b204e9800998ecf8427\"", "\"x41d8cd98f00b204e9800998ecf8427e\"", ""] {
            assert_eq!(etag_of(&[part(sum), part(other)]), None, "{other}");
        }
        assert_eq!(etag_of(&[CompletedPart::builder().build()]), None);
    }
}
