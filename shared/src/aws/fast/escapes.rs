//! Escapes in JSON strings.

/// How `"` and `\` come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    Bare,
    Escaped,
}

/// The text that a JSON string stands for, or what is wrong with it.
pub(super) fn unescaped(inside: &str) -> Result<String, &'static str> {
    let mut text = String::with_capacity(inside.len());
    each_piece(inside, Quotes::Bare, |piece| text.push_str(piece))?;
    Ok(text)
}

/// Appends the text that a JSON string stands for, with a `\` before `"` and `\` and no other escapes: the spelling
/// in canonical texts.
pub(super) fn append_canonical(inside: &str, text: &mut Vec<u8>) -> Result<(), &'static str> {
    each_piece(inside, Quotes::Escaped, |piece| text.extend_from_slice(piece.as_bytes()))
}

/// Only looks whether all escapes are right.
pub(super) fn check(inside: &str) -> Result<(), &'static str> {
    each_piece(inside, Quotes::Bare, |_| {})
}

fn each_piece(inside: &str, quotes: Quotes, mut take: impl FnMut(&str)) -> Result<(), &'static str> {
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        take(plain);
        let (symbol, after) = symbol(escape).ok_or("an escape that is none")?;
        if quotes == Quotes::Escaped && matches!(symbol, '"' | '\\') {
            take("\\");
        }
        take(symbol.encode_utf8(&mut [0; 4]));
        rest = after;
    }
    take(rest);
    Ok(())
}

/// What an escape stands for, and what follows it.
fn symbol(escape: &str) -> Option<(char, &str)> {
    let (code, after) = (escape.as_bytes().get(1)?, escape.get(2..));
    let symbol = match code {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (first, after) = unit(after?)?;
            return match first {
                0xD800..0xDC00 => {
                    let (second, after) = unit(after.strip_prefix("\\u")?)?;
                    let symbol = char::decode_utf16([first, second]).next()?.ok()?;
                    Some((symbol, after))
                }
                _ => Some((char::from_u32(first.into())?, after)),
            };
        }
        _ => return None,
    };
    Some((symbol, after?))
}

/// Four hexadecimal digits.
fn unit(text: &str) -> Option<(u16, &str)> {
    let (digits, after) = text.split_at_checked(4)?;
    // `from_str_radix` takes a sign, too.
    let all_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    Some((u16::from_str_radix(digits, 16).ok().filter(|_| all_digits)?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_stands_for_its_symbol() {
        for (inside, text) in [
            ("plain", "plain"),
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r"\u0041\u00e9\u6F22\u0000", "Aé漢\0"),
            (r"a\ud83e\udD80b", "a🦀b"),
            (r"\uffff", "\u{ffff}"),
        ] {
            assert_eq!(unescaped(inside).as_deref(), Ok(text));
            let mut canonical = Vec::new();
            append_canonical(inside, &mut canonical).unwrap();
            let escaped = text.replace('\\', r"\\").replace('"', r#"\""#);
            assert_eq!(String::from_utf8(canonical).unwrap(), escaped);
        }
    }

    #[test]
    fn what_is_no_escape_is_refused() {
        for inside in [
            r"\x",
            r"\é",
            r"\",
            r"\u",
            r"\u12",
            r"\u+123",
            r"\u12g4",
            r"\ud83e",
            r"\ud83ex",
            r"\ud83e\n",
            r"\ud83e\u0041",
            r"\udd80",
            r"\udd80\ud83e",
            r"\ud83e\ud83e",
            r"\u00é",
            r"\U0041",
        ] {
            assert!(unescaped(inside).is_err(), "{inside}");
            assert!(check(inside).is_err(), "{inside}");
        }
    }
}
