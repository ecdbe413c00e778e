//! Two images of one item beside each other, attribute by attribute, with what differs marked.

use std::collections::BTreeSet;

use console::Style;
use shared::domain::compare::{Ignore, differing_paths};
use shared::domain::key::KeySchema;
use shared::domain::value::{Item, Value};

use crate::cells::{NARROWEST, cut, differing, escaped, text, width};
use crate::settings::Paint;

/// The widest column of names; a longer name has a line of its own.
const WIDEST_NAME: usize = 32;

/// Stands for what one side lacks; no value looks like it.
const LACKS: &str = "-";

/// Two images of one item.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// What the sides are called.
    pub names: [&'a str; 2],
    /// What they hold.
    pub items: [Option<&'a Item>; 2],
    /// The key schema; key attributes come first.
    pub schema: &'a KeySchema,
    /// What does not count.
    pub ignore: &'a Ignore,
}

/// How they are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Beside each other on lines of this width.
    Beside(usize),
    /// One under the other, cut to this width, or not at all.
    Under(Option<usize>),
}

/// How one attribute of both compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Same,
    Differs,
    OnlyFirst,
    OnlySecond,
    Ignored,
}

impl Mark {
    fn sign(self) -> char {
        match self {
            Self::Same => ' ',
            Self::Differs => '!',
            Self::OnlyFirst => '<',
            Self::OnlySecond => '>',
            Self::Ignored => '~',
        }
    }
}

impl Layout {
    /// The one for standard output, `width` being that of its terminal.
    #[must_use]
    pub fn of(width: Option<usize>) -> Self {
        match width {
            Some(width) if width >= 2 + WIDEST_NAME + 2 + NARROWEST + 2 + NARROWEST => Self::Beside(width),
            Some(width) => Self::Under(Some(width)),
            None => Self::Under(None),
        }
    }
}

/// Both images, in lines.
#[must_use]
pub fn lines(images: &Images<'_>, layout: Layout, paint: Paint) -> Vec<String> {
    let rows = rows(images);
    let names = rows.iter().map(|row| width(&row.name)).filter(|&width| width <= WIDEST_NAME);
    let name_width = names.max().unwrap_or(0).max("attribute".len());
    match layout {
        Layout::Beside(line) => beside(images, &rows, name_width, line, paint),
        Layout::Under(line) => under(images, &rows, name_width, line, paint),
    }
}

/// One attribute.
struct Row<'a> {
    name: String,
    values: [Option<&'a Value>; 2],
    mark: Mark,
    /// Where below the attribute it differs.
    paths: Vec<String>,
}

fn rows<'a>(images: &Images<'a>) -> Vec<Row<'a>> {
    let Images { items, schema, ignore, names: _ } = *images;
    let keys: Vec<&str> = schema.names().collect();
    let others: BTreeSet<&str> = items.iter().flatten().flat_map(|item| item.keys()).map(String::as_str).collect();
    let others = others.into_iter().filter(|name| !keys.contains(name));
    let all = keys.iter().copied().filter(|name| items.iter().flatten().any(|item| item.contains_key(*name)));
    all.chain(others)
        .map(|name| {
            let values = items.map(|item| item.and_then(|item| item.get(name)));
            let one = |value: Option<&Value>| value.map(|value| (name.to_owned(), value.clone())).into_iter().collect();
            let paths = differing_paths(&one(values[0]), &one(values[1]), ignore);
            let mark = match values {
                _ if values[0] == values[1] => Mark::Same,
                _ if paths.is_empty() => Mark::Ignored,
                [Some(_), None] => Mark::OnlyFirst,
                [None, _] => Mark::OnlySecond,
                [Some(_), Some(_)] => Mark::Differs,
            };
            let paths = paths.into_iter().filter(|path| path != name).map(|path| escaped(&path)).collect();
            Row { name: escaped(name), values, mark, paths }
        })
        .collect()
}

impl Row<'_> {
    /// Both values in cells of a width, and where they first differ, if that does not show.
    fn cells(&self, width: Option<usize>) -> ([String; 2], Option<usize>) {
        match self.values {
            [Some(one), Some(other)] if self.mark != Mark::Same => differing(&text(one), &text(other), width),
            values => {
                (values.map(|value| value.map_or_else(|| LACKS.to_owned(), |value| cut(&text(value), width))), None)
            }
        }
    }

    /// Where the values differ, if the cells leave it open.
    fn places(&self, at: Option<usize>) -> Option<String> {
        let mut places = Vec::new();
        if !self.paths.is_empty() {
            places.push(format!("at {}", self.paths.join(", ")));
        }
        places.extend(at.map(|at| format!("from character {} on", at + 1)));
        (!places.is_empty()).then(|| format!("    differs {}", places.join(", ")))
    }
}

fn beside(images: &Images<'_>, rows: &[Row<'_>], name_width: usize, line: usize, paint: Paint) -> Vec<String> {
    let cell = (line - 2 - name_width - 2 - 2) / 2;
    let mut lines = Vec::new();
    let titles = images.names.map(|name| cut(name, Some(cell)));
    let titles = format!("  {}  {}  {}", pad("attribute", name_width), pad(&titles[0], cell), titles[1]);
    lines.push(titles.trim_end().to_owned());
    for row in rows {
        let sign = row.mark.sign();
        let name = if width(&row.name) > name_width {
            lines.push(painted(paint, row.mark, &format!("{sign} {}", row.name)));
            String::new()
        } else {
            row.name.clone()
        };
        let ([one, other], at) = row.cells(Some(cell));
        let text = format!("{sign} {}  {}  {other}", pad(&name, name_width), pad(&one, cell));
        lines.push(painted(paint, row.mark, text.trim_end()));
        lines.extend(row.places(at));
    }
    lines
}

fn under(images: &Images<'_>, rows: &[Row<'_>], name_width: usize, line: Option<usize>, paint: Paint) -> Vec<String> {
    let cell = line.map(|line| line.saturating_sub(2 + name_width + 2).max(NARROWEST));
    let mut lines = vec![format!("< {}", images.names[0]), format!("> {}", images.names[1])];
    for row in rows {
        let mut push = |sign: char, value: &str| {
            let name = if width(&row.name) > name_width {
                lines.push(painted(paint, row.mark, &format!("{sign} {}", row.name)));
                String::new()
            } else {
                row.name.clone()
            };
            lines.push(painted(paint, row.mark, &format!("{sign} {}  {value}", pad(&name, name_width))));
        };
        let ([one, other], at) = row.cells(cell);
        match row.mark {
            Mark::Same => push(' ', &one),
            Mark::OnlyFirst => push('<', &one),
            Mark::OnlySecond => push('>', &other),
            Mark::Differs => {
                push('<', &one);
                push('>', &other);
            }
            Mark::Ignored => {
                push('~', &one);
                push('~', &other);
            }
        }
        lines.extend(row.places(at));
    }
    lines
}

fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

fn painted(paint: Paint, mark: Mark, line: &str) -> String {
    let style = match mark {
        Mark::Same => return line.to_owned(),
        Mark::Differs => Style::new().yellow(),
        Mark::OnlyFirst => Style::new().red(),
        Mark::OnlySecond => Style::new().green(),
        Mark::Ignored => Style::new().dim(),
    };
    paint.apply(style, line)
}

#[cfg(test)]
mod tests;
