//! Cells in columns, for a screen of some width.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What stands where a line was cut.
const CUT: &str = "…";

/// The lines of a table, its head first. Columns are as wide as their widest cell; the last cell of a line is not
/// padded; a line that is wider than the screen is cut.
#[must_use]
pub fn lines(head: &[&str], rows: &[Vec<String>], separator: &str, screen: Option<usize>) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let mut widths = Vec::new();
    for row in all() {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    all().map(|row| cut(line(row, &widths, separator), screen)).collect()
}

fn line(row: &[String], widths: &[usize], separator: &str) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        if index > 0 {
            line.push_str(separator);
        }
        line.push_str(cell);
        if index + 1 < row.len() {
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
        }
    }
    line
}

/// The line as far as the screen shows it.
#[must_use]
pub fn cut(line: String, screen: Option<usize>) -> String {
    let Some(screen) = screen.filter(|screen| line.width() > *screen) else { return line };
    let room = screen.saturating_sub(CUT.width());
    let mut used = 0;
    let mut cut: String = line
        .chars()
        .take_while(|symbol| {
            used += symbol.width().unwrap_or(0);
            used <= room
        })
        .collect();
    if screen > 0 {
        cut.push_str(CUT);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(head: &[&str], rows: &[&[&str]], screen: Option<usize>) -> Vec<String> {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        lines(head, &rows, "|", screen)
    }

    #[test]
    fn p4_columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(
            table(
                &["A", "SET", "OF", "HEADERS"],
                &[&["THIS", "IS", "A", "ROW"], &["EVEN", "THE", "BEST", "FALL"]],
                None
            ),
            ["A   |SET|OF  |HEADERS", "THIS|IS |A   |ROW", "EVEN|THE|BEST|FALL"]
        );
        assert_eq!(
            table(&["ONE OR THREE", "COLUMNS WITH", "SPACES"], &[&["ONE", "TWO", "THREE"]], None),
            ["ONE OR THREE|COLUMNS WITH|SPACES", "ONE         |TWO         |THREE"]
        );
        assert_eq!(
            table(&["ONE", "TWO", "THREE"], &[&["ONE OR THREE", "CELLS WITH", "SPACES IN THEM"]], None),
            ["ONE         |TWO       |THREE", "ONE OR THREE|CELLS WITH|SPACES IN THEM"]
        );
    }

    #[test]
    fn p4_missing_cells_and_missing_heads_are_no_cells() {
        assert_eq!(
            table(&["ONE", "TWO"], &[&["ONE", "THE", "THREE"], &["ONE", "THINGS", "THREE"]], None),
            ["ONE|TWO", "ONE|THE   |THREE", "ONE|THINGS|THREE"]
        );
        assert_eq!(
            table(&["ONE", "TWO", "LOOOONG"], &[&["ONE", "THE"], &["ONE", "OTHER"]], None),
            ["ONE|TWO  |LOOOONG", "ONE|THE", "ONE|OTHER"]
        );
        assert_eq!(
            table(&["ONE", "TWO"], &[&["1", "2", "THE", "LONG", "THINGS"], &["1", "2", "OTHER", "END"], &[]], None),
            ["ONE|TWO", "1  |2  |THE  |LONG|THINGS", "1  |2  |OTHER|END", ""]
        );
    }

    #[test]
    fn p4_the_last_cell_is_not_padded() {
        assert_eq!(table(&["ONE", "TWO"], &[&["ONE", "LOOOONG"]], None), ["ONE|TWO", "ONE|LOOOONG"]);
        assert_eq!(table(&["ONE", "LOOOONG"], &[&["ONE", "TWO"]], None), ["ONE|LOOOONG", "ONE|TWO"]);
    }

    #[test]
    fn p4_widths_are_those_on_the_screen() {
        assert_eq!(table(&["DÎACRÎTÎCS", "TWO"], &[&["ONE", "ümläut"]], None), ["DÎACRÎTÎCS|TWO", "ONE       |ümläut"]);
        assert_eq!(
            table(&["NAME", "N"], &[&["注文", "1"], &["e\u{301}", "2"]], None),
            ["NAME|N", "注文|1", "e\u{301}   |2"]
        );
        assert_eq!(
            table(&["NAME", "N"], &[&["注文注文", "1"], &["ab", "2"]], None),
            ["NAME    |N", "注文注文|1", "ab      |2"]
        );
        assert_eq!(table(&["注文注文", "N"], &[], Some(6)), ["注文…"]);
    }

    #[test]
    fn p4_a_narrow_screen_cuts_lines() {
        let head = ["A", "SET", "OF", "HEADERS"];
        let rows: [&[&str]; 2] = [&["THIS", "IS", "A", "ROW"], &["EVEN", "THE", "BEST", "FALL"]];

        assert_eq!(table(&head, &rows, Some(13)), ["A   |SET|OF …", "THIS|IS |A  …", "EVEN|THE|BES…"]);
        assert_eq!(table(&head, &rows, Some(17)), ["A   |SET|OF  |HE…", "THIS|IS |A   |ROW", "EVEN|THE|BEST|FA…"]);
        assert_eq!(table(&head, &rows, Some(21)), table(&head, &rows, None));
        assert_eq!(table(&head, &rows, Some(1)), ["…", "…", "…"]);
        assert_eq!(table(&head, &rows, Some(0)), ["", "", ""]);
    }
}
