//! A place in JSON text that moves forward and copies nothing: tokens, strings where they lie, values as a whole.
//!
//! What every attribute passes through is inlined by force, so that the place stays in a register.

use std::borrow::Cow;

use super::Unreadable;
use super::escapes;

/// Most levels of objects and arrays in each other.
///
/// An item has at most 32, and each takes two in DynamoDB JSON. Source: Amazon DynamoDB Developer Guide, "Quotas".
pub(super) const MAX_DEPTH: usize = 100;

/// Bytes that are looked at together; as many as a mask has bits.
const BLOCK: usize = 64;

/// What was met is with the cursor; results stay small without it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused;

pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Whether there are control characters at all, which strings must not have.
    has_controls: bool,
    /// Where the quotes and backslashes are in the last block that was looked into.
    marks: u64,
    block: usize,
    /// What was met that cannot be read.
    met: &'static str,
}

/// A string where it lies, without its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) spelling: Spelling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Without escapes: as the text it stands for.
    Plain,
    /// With escapes of `"` and `\` only: as in canonical texts.
    Canonical,
    /// With other escapes, which have not been looked at.
    Other,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(body)
            .map_err(|error| Unreadable { what: "a byte that is no UTF-8", at: error.valid_up_to() })?;
        let has_controls = has_controls(text);
        Ok(Self { text, at: 0, has_controls, marks: 0, block: usize::MAX, met: "" })
    }

    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[cold]
    pub(super) fn refuse<T>(&mut self, met: &'static str) -> Result<T, Refused> {
        self.met = met;
        Err(Refused)
    }

    /// Why it was refused.
    pub(super) fn unreadable(&self) -> Unreadable {
        Unreadable { what: self.met, at: self.at }
    }

    /// The text between two places.
    #[inline(always)]
    pub(super) fn between(&self, start: usize, end: usize) -> &'a str {
        // Both are next to ASCII characters wherever this is called.
        self.text.get(start..end).unwrap_or_default()
    }

    /// The bytes between two places.
    #[inline(always)]
    pub(super) fn bytes(&self, start: usize, end: usize) -> &'a [u8] {
        self.text.as_bytes().get(start..end).unwrap_or_default()
    }

    /// What is between the quotes of a string.
    #[inline(always)]
    pub(super) fn inside(&self, raw: Raw) -> &'a str {
        self.between(raw.start, raw.end)
    }

    /// The text that a string stands for.
    #[inline(always)]
    pub(super) fn meaning(&mut self, raw: Raw) -> Result<Cow<'a, str>, Refused> {
        match raw.spelling {
            Spelling::Plain => Ok(Cow::Borrowed(self.inside(raw))),
            Spelling::Canonical | Spelling::Other => {
                escapes::unescaped(self.inside(raw)).map(Cow::Owned).or_else(|met| self.refuse(met))
            }
        }
    }

    /// The character before this place and seven more, to be compared at once.
    #[inline(always)]
    pub(super) fn word(&self) -> Option<u64> {
        let rest = self.text.as_bytes().get(self.at.wrapping_sub(1)..)?;
        rest.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
    }

    /// Goes on behind what was looked at.
    #[inline(always)]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Goes on behind this, if it comes next.
    pub(super) fn take(&mut self, expected: &str) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let comes = rest.starts_with(expected.as_bytes());
        if comes {
            self.at += expected.len();
        }
        comes
    }

    /// The next character that is no white space, and goes on behind it.
    #[inline(always)]
    pub(super) fn token(&mut self) -> Result<u8, Refused> {
        let token = self.peek()?;
        self.at += 1;
        Ok(token)
    }

    /// The next character that is no white space.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Result<u8, Refused> {
        match self.text.as_bytes().get(self.at) {
            Some(token) if *token > b' ' => Ok(*token),
            _ => self.behind_space(),
        }
    }

    #[inline(never)]
    fn behind_space(&mut self) -> Result<u8, Refused> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(token) => return Ok(*token),
                None => return self.refuse("the end, too early"),
            }
        }
    }

    #[inline(always)]
    pub(super) fn expect(&mut self, token: u8, otherwise: &'static str) -> Result<(), Refused> {
        if self.token()? == token { Ok(()) } else { self.refuse(otherwise) }
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Refused> {
        match self.peek() {
            Ok(_) => self.refuse("something behind the answer"),
            Err(_) => Ok(()),
        }
    }

    /// The name of an object's next member, or nothing at its end; then comes `:`.
    #[inline(always)]
    pub(super) fn member(&mut self, first: &mut bool) -> Result<Option<Raw>, Refused> {
        if !*first && self.text.as_bytes().get(self.at..).and_then(|b| b.first_chunk::<2>()) == Some(b",\"") {
            self.at += 2;
            return self.string().map(Some);
        }
        let mut token = self.token()?;
        if token == b'}' {
            return Ok(None);
        }
        if !std::mem::take(first) {
            if token != b',' {
                return self.refuse("a member without a comma before it");
            }
            token = self.token()?;
        }
        if token != b'"' {
            return self.refuse("a member without a name");
        }
        self.string().map(Some)
    }

    /// Whether an array has another element, which then comes next.
    #[inline(always)]
    pub(super) fn element(&mut self, first: &mut bool) -> Result<bool, Refused> {
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.expect(b',', "an element without a comma before it")?;
        }
        Ok(true)
    }

    /// The string whose opening quote is behind us.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Raw, Refused> {
        let start = self.at;
        let mut spelling = Spelling::Plain;
        let end = loop {
            let Some(found) = self.mark() else { return self.refuse("a string without an end") };
            let bytes = self.text.as_bytes();
            if bytes.get(found) == Some(&b'"') {
                break found;
            }
            spelling = match bytes.get(found + 1) {
                Some(b'"' | b'\\') if spelling != Spelling::Other => Spelling::Canonical,
                _ => Spelling::Other,
            };
            self.at = found + 2;
        };
        self.at = end + 1;
        if self.has_controls && has_controls(self.between(start, end)) {
            return self.refuse("a control character in a string");
        }
        Ok(Raw { start, end, spelling })
    }

    /// Where the next quote or backslash is.
    #[inline(always)]
    fn mark(&mut self) -> Option<usize> {
        let mut from = self.at;
        loop {
            let block = from / BLOCK;
            if block != self.block {
                self.look_into(block)?;
            }
            let marks = self.marks >> (from % BLOCK);
            if marks != 0 {
                return Some(from + marks.trailing_zeros() as usize);
            }
            from = (block + 1) * BLOCK;
        }
    }

    #[inline(always)]
    fn look_into(&mut self, block: usize) -> Option<()> {
        let rest = self.text.as_bytes().get(block * BLOCK..)?;
        self.marks = match rest.first_chunk() {
            Some(whole) => quotes_and_backslashes(whole),
            None => quotes_and_backslashes(&padded(rest)?),
        };
        self.block = block;
        Some(())
    }

    /// The next value as a whole, with all that is in it checked to be JSON.
    pub(super) fn value(&mut self) -> Result<&'a str, Refused> {
        self.peek()?;
        let start = self.at;
        self.skip(0)?;
        Ok(self.between(start, self.at))
    }

    fn skip(&mut self, depth: usize) -> Result<(), Refused> {
        if depth > MAX_DEPTH {
            return self.refuse("too many levels");
        }
        let mut first = true;
        match self.token()? {
            b'"' => self.string().and_then(|raw| self.check(raw)),
            b'{' => {
                while let Some(name) = self.member(&mut first)? {
                    self.check(name)?;
                    self.expect(b':', "a name without a value")?;
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            b'[' => {
                while self.element(&mut first)? {
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            b't' if self.take("rue") => Ok(()),
            b'f' if self.take("alse") => Ok(()),
            b'n' if self.take("ull") => Ok(()),
            b'-' | b'0'..=b'9' => {
                self.at -= 1;
                self.skip_number()
            }
            _ => self.refuse("what is no value"),
        }
    }

    fn check(&mut self, raw: Raw) -> Result<(), Refused> {
        match raw.spelling {
            Spelling::Plain | Spelling::Canonical => Ok(()),
            Spelling::Other => escapes::check(self.inside(raw)).or_else(|met| self.refuse(met)),
        }
    }

    fn skip_number(&mut self) -> Result<(), Refused> {
        self.take("-");
        let starts_with_zero = self.take("0");
        let mut is_number = self.skip_digits() != starts_with_zero;
        if self.take(".") {
            is_number &= self.skip_digits();
        }
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            is_number &= self.skip_digits();
        }
        if is_number { Ok(()) } else { self.refuse("what is no number") }
    }

    fn skip_digits(&mut self) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        digits > 0
    }
}

/// The last block, unless it is empty.
#[cold]
fn padded(rest: &[u8]) -> Option<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    block.get_mut(..rest.len()).filter(|block| !block.is_empty())?.copy_from_slice(rest);
    Some(block)
}

/// A fold over all bytes, unlike a search, is vectorised.
fn has_controls(text: &str) -> bool {
    text.bytes().fold(u8::MAX, u8::min) < b' '
}

/// Has a bit for each byte that is a quote or a backslash, in a form that is vectorised without being told.
#[inline(always)]
fn quotes_and_backslashes(block: &[u8; BLOCK]) -> u64 {
    let mut bits = [0; BLOCK];
    for (at, (bit, byte)) in bits.iter_mut().zip(block).enumerate() {
        *bit = if matches!(byte, b'"' | b'\\') { 1_u8 << (at % 8) } else { 0 };
    }
    // Of eight bytes each has another bit, so their sum, which the multiplication leaves on top, has them all.
    let sum = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0101_0101_0101_0101) >> 56;
    bits.as_chunks().0.iter().enumerate().fold(0, |all, (at, eight)| all | sum(eight) << (8 * at))
}
