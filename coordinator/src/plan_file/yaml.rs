//! From bytes to a tree whose every node knows its place. What plans do not need is refused: aliases, tags, several
//! documents, keys that are no text.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::fault::{Faults, Noted, Place, Quoted};

/// Most bytes of a plan file: some thousand entries.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Most lists and mappings inside each other; a plan has five.
const MAX_DEPTH: usize = 16;

/// A part of the file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Nothing, `~` or `null`.
    Null,
    /// Text without quotes, which may mean a number or a truth value.
    Plain(String),
    /// Text in quotes or in a block.
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// One field of a mapping.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Node,
}

impl Member {
    /// Where the value is; where the key is, if there is no value.
    pub(super) fn place(&self) -> Place {
        if matches!(self.value.content, Content::Null) { self.key_place } else { self.value.place }
    }
}

impl Content {
    /// In a message: what was found instead of what was expected.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Plain(text) => Quoted(text).to_string(),
            Self::Text(text) => format!("the text {}", Quoted(text)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Reads the one document of a file; without it, faults say why.
pub(super) fn read(bytes: &[u8], faults: &mut Faults) -> Result<Node, Noted> {
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has more than {MAX_BYTES} bytes");
        return Err(faults.note(Place::START, message, "cut it into several plans"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        faults.note(Place { line, column }, "this is no text in UTF-8", "save the file as UTF-8")
    })?;
    let mut tree = Tree::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => tree.take(event, place(span.start), faults)?,
            Err(error) => {
                let message = format!("this is no YAML: {}", error.info());
                return Err(faults.note(place(*error.marker()), message, ""));
            }
        }
    }
    tree.root.ok_or_else(|| faults.note(Place::START, "the file is empty", "a plan is a list under `plan:`"))
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

/// The tree while it grows.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
}

/// A list or a mapping that has not ended.
enum Open {
    List { place: Place, items: Vec<Node> },
    Map { place: Place, members: Vec<Member>, key: Option<(String, Place)>, lines: BTreeMap<String, usize> },
}

impl Tree {
    fn take(&mut self, event: Event<'_>, place: Place, faults: &mut Faults) -> Result<(), Noted> {
        let (anchor, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if anchor != 0 {
            faults.note(
                place,
                "an anchor (`&`) stands here, and plans have none",
                "write the value out where it is used",
            );
        }
        if tagged {
            faults.note(place, "a tag (`!`) stands here, and plans have none", "leave it out");
        }
        match event {
            Event::Alias(_) => {
                return Err(faults.note(
                    place,
                    "an alias (`*`) stands here, and plans have none",
                    "write the value out",
                ));
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err(faults.note(
                    place,
                    "a second document begins here",
                    "put each plan into a file of its own",
                ));
            }
            Event::Scalar(text, style, ..) => {
                let content = match style {
                    ScalarStyle::Plain if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => Content::Null,
                    ScalarStyle::Plain => Content::Plain(text.into_owned()),
                    _ => Content::Text(text.into_owned()),
                };
                self.put(Node { place, content }, faults);
            }
            Event::SequenceStart(..) => self.begin(Open::List { place, items: Vec::new() }, place, faults)?,
            Event::MappingStart(..) => {
                let map = Open::Map { place, members: Vec::new(), key: None, lines: BTreeMap::new() };
                self.begin(map, place, faults)?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { place, items }) => self.put(Node { place, content: Content::List(items) }, faults),
                Some(Open::Map { place, members, .. }) => {
                    self.put(Node { place, content: Content::Map(members) }, faults);
                }
                None => {}
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, open: Open, place: Place, faults: &mut Faults) -> Result<(), Noted> {
        if self.open.len() >= MAX_DEPTH {
            return Err(faults.note(
                place,
                format!("more than {MAX_DEPTH} lists and mappings are inside each other"),
                "",
            ));
        }
        self.open.push(open);
        Ok(())
    }

    /// Puts a finished node to where it belongs.
    fn put(&mut self, node: Node, faults: &mut Faults) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { members, key, lines, .. }) => match (key.take(), node) {
                (Some((key, key_place)), value) => members.push(Member { key, key_place, value }),
                (None, Node { place, content: Content::Plain(name) | Content::Text(name) }) => {
                    if let Some(first) = lines.insert(name.clone(), place.line) {
                        let message =
                            format!("{} is here for the second time; the first is in line {first}", Quoted(&name));
                        faults.note(place, message, "leave one of them");
                    }
                    *key = Some((name, place));
                }
                (None, Node { place, content }) => {
                    faults.note(place, format!("the name of a field is expected, not {}", content.describe()), "");
                    *key = Some((String::new(), place));
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &[u8]) -> Vec<(usize, usize, String)> {
        let mut faults = Faults::default();
        let node = read(text, &mut faults);
        let found = faults.judge(node.ok()).map_or_else(|bad| bad.faults, |_| Vec::new());
        found.into_iter().map(|fault| (fault.place.line, fault.place.column, fault.message)).collect()
    }

    #[test]
    fn every_node_knows_its_place() {
        let mut faults = Faults::default();
        let root = read(b"---\nplan:\n  - input:\n      table: \"1\"\n    verify:\n", &mut faults).unwrap();

        let Content::Map(members) = &root.content else { panic!("{root:?}") };
        let Content::List(items) = &members[0].value.content else { panic!("{root:?}") };
        assert_eq!((items[0].place.line, items[0].place.column), (3, 5));
        let Content::Map(entry) = &items[0].content else { panic!("{root:?}") };
        assert_eq!((entry[1].place().line, entry[1].place().column), (5, 5));
        assert!(matches!(entry[1].value.content, Content::Null));
        let Content::Map(input) = &entry[0].value.content else { panic!("{root:?}") };
        assert_eq!((input[0].place().line, input[0].place().column), (4, 14));
        assert!(matches!(&input[0].value.content, Content::Text(text) if text == "1"));
    }

    #[test]
    fn what_a_plan_does_not_need_is_refused_with_its_place() {
        for (text, line, column, what) in [
            ("", 1, 1, "empty"),
            ("# nothing\n", 1, 1, "empty"),
            ("a: 1\nb: 2\na: 3\n", 3, 1, "`a` is here for the second time; the first is in line 1"),
            ("a: &x 1\nb: 2", 1, 4, "anchor"),
            ("a: &x 1\nb: *x", 2, 4, "alias"),
            ("a: !!str 1", 1, 4, "tag"),
            ("a: 1\n---\nb: 2", 2, 1, "second document"),
            ("? [1]\n: 2", 1, 3, "name of a field is expected, not a list"),
            ("a: [1", 2, 1, "no YAML"),
            ("a: b: c", 1, 5, "no YAML"),
        ] {
            let found = faults_of(text.as_bytes());
            assert!(
                found.iter().any(|fault| fault.0 == line && fault.1 == column && fault.2.contains(what)),
                "{text:?}: {found:?}"
            );
        }
    }

    #[test]
    fn the_size_and_the_depth_are_bounded() {
        assert!(faults_of(&vec![b' '; MAX_BYTES + 1])[0].2.contains("bytes"));
        assert!(faults_of("- ".repeat(1000).as_bytes())[0].2.contains("inside each other"));
        assert!(faults_of("[".repeat(20).as_bytes())[0].2.contains("inside each other"));
        assert_eq!(faults_of("[".repeat(MAX_BYTES).as_bytes()).len(), 1);
    }

    #[test]
    fn a_byte_that_is_no_text_has_its_place() {
        assert_eq!(faults_of(b"a: 1\n\xc3\xa9\xff")[0], (2, 2, "this is no text in UTF-8".to_owned()));
    }
}
