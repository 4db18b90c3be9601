//! Tables: columns as wide as their widest cell, two blanks between them, the last one cut at the
//! edge of the screen.

use super::style::{Colour, Style};

/// Blanks between columns.
const GAP: usize = 2;

/// A text with its meaning.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    colour: Colour,
}

impl Cell {
    pub(super) fn new(colour: impl Into<Colour>, text: impl Into<String>) -> Cell {
        Cell { text: text.into(), colour: colour.into() }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, colour: Colour::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::from(text.to_owned())
    }
}

/// Rows below a heading.
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with this heading.
    pub(super) fn new<'a>(heading: impl IntoIterator<Item = &'a str>) -> Table {
        let heading = heading.into_iter().map(|text| Cell::new(Colour::Head, text));
        Table { rows: vec![heading.collect()] }
    }

    /// Adds a row; it may be shorter than the heading.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        assert!(cells.len() <= self.rows[0].len(), "a row has more cells than the heading");
        self.rows.push(cells);
    }

    /// The table as text. A column in which no row has anything is left out.
    pub(super) fn render(&self, style: Style) -> String {
        let columns = self.rows[0].len();
        let mut widths = vec![0; columns];
        let mut used = vec![false; columns];
        for (index, row) in self.rows.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                widths[column] = widths[column].max(cell.width());
                used[column] |= index > 0 && cell.width() > 0;
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            let (mut at, mut wanted) = (0, 0);
            for (column, cell) in row.iter().enumerate().filter(|(column, _)| used[*column]) {
                if cell.width() > 0 && wanted < style.width {
                    line.push_str(&" ".repeat(wanted - at));
                    let shown = cut(&cell.text, style.width - wanted);
                    at = wanted + shown.chars().count();
                    line.push_str(&style.paint(cell.colour, &shown));
                }
                wanted += widths[column] + GAP;
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// The text, or its beginning with a mark that more follows.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut shown: String = text.chars().take(width.saturating_sub(1)).collect();
    shown.push('…');
    shown
}
