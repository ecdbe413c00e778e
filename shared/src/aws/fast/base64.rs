//! Base64 is compared as text, which needs it to be spelt in the one right way.

/// Whether a text is base64 in its one canonical spelling.
pub(super) fn is_base64(text: &str) -> bool {
    let (quads, rest) = text.as_bytes().as_chunks::<4>();
    let Some((last, whole)) = quads.split_last() else { return rest.is_empty() };
    let digits = |digits: &[u8]| digits.iter().fold(0, |all, byte| all | VALUES[usize::from(*byte)]);
    let ends_well = match last {
        // The bits that fill up the last digit are zero.
        [first, second, b'=', b'='] => {
            digits(&[*first, *second]) < 64 && VALUES[usize::from(*second)].is_multiple_of(16)
        }
        [start @ .., b'='] => digits(start) < 64 && VALUES[usize::from(start[2])].is_multiple_of(4),
        digits_only => digits(digits_only) < 64,
    };
    rest.is_empty() && ends_well && digits(whole.as_flattened()) < 64
}

/// The value of each digit, and 64 for what is none.
const VALUES: [u8; 256] = {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [64; 256];
    let mut value = 0;
    while value < 64 {
        values[digits[value as usize] as usize] = value;
        value += 1;
    }
    values
};
