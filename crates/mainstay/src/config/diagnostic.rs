//! Findings: what is wrong with a text, where, and what to do about it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use api::v1;

/// Findings kept; a file with more mistakes than this is the wrong file.
pub const FINDINGS_MAX: usize = 100;

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Error or warning.
    pub severity: v1::Severity,
    /// What is wrong: one sentence without a full stop.
    pub message: String,
    /// Where, in bytes of the text; None for the file as a whole.
    pub span: Option<Range<usize>>,
    /// What to say at that place; may be empty.
    pub label: String,
    /// Other places that belong to it.
    pub related: Vec<(Range<usize>, String)>,
    /// What to do, most useful first.
    pub help: Vec<String>,
}

impl Finding {
    /// Marks the place with words.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Finding {
        self.label = label.into();
        self
    }

    /// Adds advice.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Finding {
        self.help.push(help.into());
        self
    }

    /// Marks another place that belongs to it.
    pub fn related(&mut self, span: Range<usize>, label: impl Into<String>) -> &mut Finding {
        self.related.push((span, label.into()));
        self
    }
}

/// All findings about one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    text: String,
    findings: Vec<Finding>,
    /// Findings beyond the limit.
    dropped: usize,
}

impl Diagnostics {
    /// No findings about `text`, which people know as `file`.
    #[must_use]
    pub fn new(file: &str, text: &str) -> Diagnostics {
        Diagnostics { file: file.into(), text: text.into(), findings: Vec::new(), dropped: 0 }
    }

    /// Adds an error at `span`.
    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Finding {
        self.add(v1::Severity::Error, Some(span), message.into())
    }

    /// Adds a warning at `span`.
    pub fn warning(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Finding {
        self.add(v1::Severity::Warning, Some(span), message.into())
    }

    /// Adds a warning at `span`, about the file as a whole without one.
    pub fn warning_at(
        &mut self,
        span: Option<Range<usize>>,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.add(v1::Severity::Warning, span, message.into())
    }

    /// Adds an error at `span`, about the file as a whole without one.
    pub fn error_at(
        &mut self,
        span: Option<Range<usize>>,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.add(v1::Severity::Error, span, message.into())
    }

    /// Adds an error about the file as a whole.
    pub fn error_in_file(&mut self, message: impl Into<String>) -> &mut Finding {
        self.add(v1::Severity::Error, None, message.into())
    }

    /// Adds what somebody else has found in the same text.
    pub fn adopt(&mut self, other: &v1::Diagnostic) {
        let start = offset(&self.text, other.line, other.column);
        let end = offset(&self.text, other.end_line, other.end_column);
        let span = start.zip(end).map(|(start, end)| start..end.max(start));
        let finding = self.add(other.severity, span, other.message.clone()).label(&other.label);
        for help in &other.help {
            finding.help(help);
        }
    }

    fn add(
        &mut self,
        severity: v1::Severity,
        span: Option<Range<usize>>,
        message: String,
    ) -> &mut Finding {
        let finding = Finding {
            severity,
            message,
            span,
            label: String::new(),
            related: Vec::new(),
            help: Vec::new(),
        };
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            // The last place takes the overflow, so that the caller has something to decorate; an
            // error pushes out a warning, so that errors are never hidden by their number.
            self.dropped += 1;
            let last = self.findings.last_mut().expect("the limit is above zero");
            if last.severity >= severity {
                *last = finding;
            }
        }
        self.findings.last_mut().expect("one was just added")
    }

    /// Whether the text can not be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == v1::Severity::Error)
    }

    /// The findings in the order of their places.
    #[must_use]
    pub fn findings(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.span.as_ref().map(|span| span.start));
        findings
    }

    /// The warnings, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<v1::Warning> {
        let warning = |finding: &&Finding| finding.severity == v1::Severity::Warning;
        let warnings = self.findings().into_iter().filter(warning);
        warnings
            .map(|finding| v1::Warning {
                code: "configuration".into(),
                text: finding.message.clone(),
                help: finding.help.first().cloned(),
            })
            .collect()
    }

    /// All findings for a person: each with file, line, column, the line itself and a caret.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for finding in self.findings() {
            let level = match finding.severity {
                v1::Severity::Error => Level::ERROR,
                v1::Severity::Warning => Level::WARNING,
            };
            let mut group =
                annotate_snippets::Group::with_title(level.primary_title(finding.message.as_str()));
            group = match &finding.span {
                Some(span) => {
                    let mut primary = AnnotationKind::Primary.span(span.clone());
                    if !finding.label.is_empty() {
                        primary = primary.label(finding.label.as_str());
                    }
                    let related = finding.related.iter().map(|(span, label)| {
                        AnnotationKind::Context.span(span.clone()).label(label.as_str())
                    });
                    group.element(
                        Snippet::source(self.text.as_str())
                            .path(self.file.as_str())
                            .annotation(primary)
                            .annotations(related),
                    )
                }
                None => group.element(annotate_snippets::Origin::path(self.file.as_str())),
            };
            for help in &finding.help {
                group = group.element(Level::HELP.message(help.as_str()));
            }
            text.push_str(&renderer.render(&[group]));
            text.push_str("\n\n");
        }
        if self.dropped > 0 {
            text.push_str(&format!("and {} more\n", self.dropped));
        }
        text
    }

    /// All findings for a program.
    #[must_use]
    pub fn report(&self) -> v1::DiagnosticReport {
        let diagnostics = self.findings().into_iter().map(|finding| {
            let place = |offset| place(&self.text, offset);
            let ((line, column), (end_line, end_column)) = match &finding.span {
                Some(span) => (place(span.start), place(span.end)),
                None => ((0, 0), (0, 0)),
            };
            v1::Diagnostic {
                severity: finding.severity,
                message: finding.message.clone(),
                file: self.file.clone(),
                line,
                column,
                end_line,
                end_column,
                label: finding.label.clone(),
                help: finding.help.clone(),
            }
        });
        v1::DiagnosticReport {
            schema: v1::SCHEMA,
            usable: !self.has_errors(),
            diagnostics: diagnostics.collect(),
        }
    }
}

/// Line and column of a byte, both from 1; columns count characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// The byte at a line and a column, both from 1; none where the text has no such place.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let mut at = 0;
    let found = text.split_inclusive('\n').nth(line.checked_sub(1)?)?;
    for before in text.split_inclusive('\n').take(line - 1) {
        at += before.len();
    }
    let mut ends = found.char_indices().map(|(index, _)| index).chain([found.len()]);
    Some(at + ends.nth(column.checked_sub(1)?)?)
}
