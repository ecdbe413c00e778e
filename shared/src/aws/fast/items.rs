//! Items in DynamoDB JSON reduced to digests and keys, attribute by attribute.

use std::borrow::Cow;

use super::Unreadable;
use super::base64::is_base64;
use super::cursor::{Cursor, MAX_DEPTH, Raw, Refused, Spelling};
use super::escapes;
use crate::domain::digest::{Digest, Digester, Role};
use crate::domain::entries::Entries;
use crate::domain::json::item_from_json;
use crate::domain::key::KeyType;
use crate::domain::number;
use crate::domain::value::Item;

/// Reads items and keeps what a comparison needs of them.
pub(super) struct Items<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) entries: Entries,
    digester: &'a Digester,
    /// The types of the key attributes.
    key: Vec<Tag>,
    /// A canonical text that does not lie in the body.
    scratch: Vec<u8>,
}

/// The types in DynamoDB JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    S,
    N,
    B,
    Bool,
    Null,
    Ss,
    Ns,
    Bs,
    L,
    M,
}

/// What a value is called in its canonical text.
#[derive(Clone, Copy)]
enum Name {
    /// The name of an attribute.
    Attribute(Raw),
    /// The index of a list's member.
    Index(usize),
    /// A set's member.
    None,
}

/// A typed value of which the content comes next: behind its quote, if it is a string.
#[derive(Clone, Copy)]
struct Opened {
    tag: Tag,
    /// Whether its canonical text, from the name to here, lies in the body.
    lies: bool,
}

/// What is between an attribute's name and a text, where there is no white space.
const TO_STRING: u64 = u64::from_le_bytes(*br#"":{"S":""#);
const TO_NUMBER: u64 = u64::from_le_bytes(*br#"":{"N":""#);
const TO_BINARY: u64 = u64::from_le_bytes(*br#"":{"B":""#);

impl<'a> Items<'a> {
    pub(super) fn new(body: &'a [u8], digester: &'a Digester) -> Result<Self, Unreadable> {
        let key = digester.schema().attributes().map(|attribute| match attribute.kind {
            KeyType::S => Tag::S,
            KeyType::N => Tag::N,
            KeyType::B => Tag::B,
        });
        let (cursor, key) = (Cursor::new(body)?, key.collect());
        Ok(Self { cursor, entries: Entries::default(), digester, key, scratch: Vec::new() })
    }

    /// An array of items.
    pub(super) fn array(&mut self) -> Result<(), Refused> {
        self.cursor.expect(b'[', "items that are no array")?;
        let mut first = true;
        while self.cursor.element(&mut first)? {
            self.item()?;
        }
        Ok(())
    }

    fn item(&mut self) -> Result<(), Refused> {
        self.cursor.expect(b'{', "an item that is no object")?;
        let (mut digest, mut first) = (Digest::default(), true);
        let mut key = [const { None }; 2];
        while let Some(name) = self.cursor.member(&mut first)? {
            match self.digester.role(&self.cursor.meaning(name)?) {
                Role::Whole => digest.item = digest.item.wrapping_add(self.attribute(name, 0)?),
                Role::Key(index) => {
                    let (hash, text) = self.key_attribute(name, index)?;
                    digest.key = digest.key.wrapping_add(hash);
                    if key[index].replace(text).is_some() {
                        return self.cursor.refuse("a key attribute that comes twice");
                    }
                }
                Role::PartlyIgnored => digest.item = digest.item.wrapping_add(self.typed(name)?),
                Role::Ignored => {
                    self.cursor.expect(b':', "a name without a value")?;
                    self.cursor.value()?;
                }
            }
        }
        let texts = key.iter().flatten().map(|text| &**text);
        if texts.clone().count() != self.key.len() {
            return self.cursor.refuse("an item without its key");
        }
        self.entries.push(digest, texts).or_else(|_| self.cursor.refuse("a key that is too long"))
    }

    /// The hash of an attribute, of which the name is behind us.
    #[inline(always)]
    fn attribute(&mut self, name: Raw, depth: usize) -> Result<u128, Refused> {
        let opened = self.open(name)?;
        // The commonest types go the shortest way.
        if matches!(opened.tag, Tag::S | Tag::N) {
            let (hash, _) = self.text(Name::Attribute(name), opened)?;
            self.close()?;
            return Ok(hash);
        }
        self.content(Name::Attribute(name), opened, depth)
    }

    /// The hash of a key attribute, and its text.
    #[inline]
    fn key_attribute(&mut self, name: Raw, index: usize) -> Result<(u128, Cow<'a, str>), Refused> {
        let opened = self.open(name)?;
        if self.key.get(index) != Some(&opened.tag) {
            return self.cursor.refuse("a key attribute of another type");
        }
        let (hash, text) = self.text(Name::Attribute(name), opened)?;
        self.close()?;
        Ok((hash, self.cursor.meaning(text)?))
    }

    /// The hash of an attribute that is ignored in part: only typed values know their paths.
    #[cold]
    fn typed(&mut self, name: Raw) -> Result<u128, Refused> {
        self.cursor.expect(b':', "a name without a value")?;
        let json = self.cursor.value()?;
        let name = self.cursor.meaning(name)?;
        let item: Option<Item> = serde_json::from_str::<serde_json::Value>(json).ok().and_then(|json| {
            let item = [(name.clone().into_owned(), json)].into_iter().collect();
            item_from_json(&serde_json::Value::Object(item)).ok()
        });
        match item.as_ref().and_then(|item| item.get(&*name)) {
            Some(value) => Ok(self.digester.attribute(&name, value)),
            None => self.cursor.refuse("what is no attribute value"),
        }
    }

    /// From behind an attribute's name into its value.
    #[inline(always)]
    fn open(&mut self, name: Raw) -> Result<Opened, Refused> {
        let lies = name.spelling != Spelling::Other;
        let tag = match self.cursor.word() {
            Some(TO_STRING) => Tag::S,
            Some(TO_NUMBER) => Tag::N,
            Some(TO_BINARY) => Tag::B,
            _ => return self.open_other(lies),
        };
        self.cursor.advance(tag.canonical().len() - 1);
        Ok(Opened { tag, lies })
    }

    #[inline(never)]
    fn open_other(&mut self, lies: bool) -> Result<Opened, Refused> {
        let start = self.cursor.at();
        self.cursor.expect(b':', "a name without a value")?;
        self.cursor.expect(b'{', "an attribute value that is no object")?;
        let tag = self.tag()?;
        // The canonical text has the name's quote, too.
        let is_compact = self.cursor.at() - start == tag.canonical().len() - 1;
        Ok(Opened { tag, lies: lies && is_compact })
    }

    /// From behind the brace of a typed value to its content.
    fn tag(&mut self) -> Result<Tag, Refused> {
        self.cursor.expect(b'"', "a value without a type")?;
        let tag = self.cursor.string()?;
        let Some(tag) = Tag::of(&self.cursor.meaning(tag)?) else {
            return self.cursor.refuse("an unknown type of value");
        };
        self.cursor.expect(b':', "a type without a value")?;
        let next = self.cursor.peek()?;
        if matches!(tag, Tag::S | Tag::N | Tag::B) {
            if next != b'"' {
                return self.cursor.refuse("a text without quotes");
            }
            self.cursor.token()?;
        }
        Ok(tag)
    }

    /// The hash of a value of which the content comes next, to behind its brace.
    #[inline(never)]
    fn content(&mut self, name: Name, opened: Opened, depth: usize) -> Result<u128, Refused> {
        let hash = match opened.tag {
            Tag::S | Tag::N | Tag::B => self.text(name, opened)?.0,
            tag => self.other(name, tag, opened.lies, depth)?,
        };
        self.close()?;
        Ok(hash)
    }

    #[inline(always)]
    fn close(&mut self) -> Result<(), Refused> {
        self.cursor.expect(b'}', "a value of two types")
    }

    /// The hash of a string, number or binary, and its text.
    #[inline(always)]
    fn text(&mut self, name: Name, opened: Opened) -> Result<(u128, Raw), Refused> {
        let raw = self.cursor.string()?;
        let inside = self.cursor.inside(raw);
        let is_plain = raw.spelling == Spelling::Plain;
        let is_canonical = match opened.tag {
            Tag::S => raw.spelling != Spelling::Other,
            Tag::N => is_plain && number::is_normal(inside),
            _ => is_plain && is_base64(inside),
        };
        match name {
            Name::Attribute(name) if opened.lies && is_canonical => {
                Ok((self.digester.hash(self.cursor.bytes(name.start, raw.end)), raw))
            }
            _ => self.respelt(name, opened.tag, raw).map(|hash| (hash, raw)),
        }
    }

    /// The hash of a text that does not lie in the body in its canonical spelling, or not behind its name.
    #[inline(never)]
    fn respelt(&mut self, name: Name, tag: Tag, raw: Raw) -> Result<u128, Refused> {
        self.spell(name, tag)?;
        match tag {
            Tag::S => self.spell_text(raw)?,
            Tag::N => {
                let text = self.cursor.meaning(raw)?;
                let Some(number) = number::normalized(&text) else { return self.cursor.refuse("what is no number") };
                self.scratch.extend_from_slice(number.as_bytes());
            }
            _ => {
                let text = self.cursor.meaning(raw)?;
                if !is_base64(&text) {
                    return self.cursor.refuse("what is no base64");
                }
                self.scratch.extend_from_slice(text.as_bytes());
            }
        }
        Ok(self.digester.hash(&self.scratch))
    }

    /// The hash of any other value.
    fn other(&mut self, name: Name, tag: Tag, lies: bool, depth: usize) -> Result<u128, Refused> {
        if depth > MAX_DEPTH {
            return self.cursor.refuse("too many levels");
        }
        let (mut sum, mut first) = (0_u128, true);
        match tag {
            Tag::Bool | Tag::Null => return self.literal(name, tag, lies),
            Tag::L => {
                self.cursor.expect(b'[', "a list that is no array")?;
                let mut index = 0;
                while self.cursor.element(&mut first)? {
                    self.cursor.expect(b'{', "a list's member that is no object")?;
                    let opened = Opened { tag: self.tag()?, lies: false };
                    sum = sum.wrapping_add(self.content(Name::Index(index), opened, depth + 1)?);
                    index += 1;
                }
            }
            Tag::M => {
                self.cursor.expect(b'{', "a map that is no object")?;
                while let Some(name) = self.cursor.member(&mut first)? {
                    sum = sum.wrapping_add(self.attribute(name, depth + 1)?);
                }
            }
            _ => {
                self.cursor.expect(b'[', "a set that is no array")?;
                while self.cursor.element(&mut first)? {
                    self.cursor.expect(b'"', "a set's member that is no text")?;
                    let opened = Opened { tag: tag.of_members(), lies: false };
                    sum = sum.wrapping_add(self.text(Name::None, opened)?.0);
                }
            }
        }
        self.spell(name, tag)?;
        self.scratch.extend_from_slice(&sum.to_le_bytes());
        Ok(self.digester.hash(&self.scratch))
    }

    fn literal(&mut self, name: Name, tag: Tag, lies: bool) -> Result<u128, Refused> {
        let text = match tag {
            _ if self.cursor.take("true") => "true",
            Tag::Bool if self.cursor.take("false") => "false",
            _ => return self.cursor.refuse("what is neither true nor false"),
        };
        if let (Name::Attribute(name), true) = (name, lies) {
            return Ok(self.digester.hash(self.cursor.bytes(name.start, self.cursor.at())));
        }
        self.spell(name, tag)?;
        self.scratch.extend_from_slice(text.as_bytes());
        Ok(self.digester.hash(&self.scratch))
    }

    /// Begins a canonical text.
    fn spell(&mut self, name: Name, tag: Tag) -> Result<(), Refused> {
        self.scratch.clear();
        match name {
            Name::Attribute(raw) => self.spell_text(raw)?,
            Name::Index(index) => push_decimal(index, &mut self.scratch),
            Name::None => {}
        }
        self.scratch.extend_from_slice(tag.canonical().as_bytes());
        Ok(())
    }

    fn spell_text(&mut self, raw: Raw) -> Result<(), Refused> {
        let inside = self.cursor.inside(raw);
        match raw.spelling {
            Spelling::Plain | Spelling::Canonical => {
                self.scratch.extend_from_slice(inside.as_bytes());
                Ok(())
            }
            Spelling::Other => {
                escapes::append_canonical(inside, &mut self.scratch).or_else(|met| self.cursor.refuse(met))
            }
        }
    }
}

impl Tag {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "S" => Self::S,
            "N" => Self::N,
            "B" => Self::B,
            "BOOL" => Self::Bool,
            "NULL" => Self::Null,
            "SS" => Self::Ss,
            "NS" => Self::Ns,
            "BS" => Self::Bs,
            "L" => Self::L,
            "M" => Self::M,
            _ => return None,
        })
    }

    /// What stands between name and content in a canonical text.
    fn canonical(self) -> &'static str {
        match self {
            Self::S => r#"":{"S":""#,
            Self::N => r#"":{"N":""#,
            Self::B => r#"":{"B":""#,
            Self::Bool => r#"":{"BOOL":"#,
            Self::Null => r#"":{"NULL":"#,
            Self::Ss => r#"":{"SS":"#,
            Self::Ns => r#"":{"NS":"#,
            Self::Bs => r#"":{"BS":"#,
            Self::L => r#"":{"L":"#,
            Self::M => r#"":{"M":"#,
        }
    }

    /// The type of a set's members.
    fn of_members(self) -> Self {
        match self {
            Self::Ss => Self::S,
            Self::Ns => Self::N,
            _ => Self::B,
        }
    }
}

fn push_decimal(number: usize, text: &mut Vec<u8>) {
    if number >= 10 {
        push_decimal(number / 10, text);
    }
    text.push(b"0123456789"[number % 10]);
}
