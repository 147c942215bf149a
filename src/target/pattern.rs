//! The segments of a target's prefix template, and how one of them matches a text.

use std::fmt;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::ids::{IdRules, USER_ID};
use super::user::User;

/// RFC 3986, section 2.3: everything except the unreserved characters is encoded.
/// <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How an id is written in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As it is.
    Raw,
    /// Percent-encoded, with upper-case hexadecimal digits.
    UrlEncoded,
}

impl Spelling {
    fn write(self, id: &str) -> String {
        match self {
            Self::Raw => id.to_owned(),
            Self::UrlEncoded => utf8_percent_encode(id, ENCODED).to_string(),
        }
    }

    /// The id that is written exactly so.
    fn read(self, text: &str) -> Option<String> {
        let id = match self {
            Self::Raw => text.to_owned(),
            Self::UrlEncoded => percent_decode_str(text).decode_utf8().ok()?.into_owned(),
        };
        (self.write(&id) == text).then_some(id)
    }

    /// The beginning of an id that is written so, without an escape that the text cuts.
    fn read_beginning(self, text: &str) -> Option<String> {
        let is_cut = |bytes: &usize| text.as_bytes().iter().rev().nth(bytes - 1) == Some(&b'%');
        let cut = match self {
            Self::Raw => 0,
            Self::UrlEncoded => [1, 2].into_iter().find(is_cut).unwrap_or(0),
        };
        self.read(&text[..text.len() - cut])
    }

    /// The most bytes that one character of an id takes.
    pub(super) fn bytes_per_character(self) -> usize {
        match self {
            Self::Raw => 1,
            Self::UrlEncoded => 3,
        }
    }
}

/// The placeholder of an id in a segment, with the fixed text before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placeholder {
    pub(super) before: String,
    pub(super) name: String,
    pub(super) spelling: Spelling,
    pub(super) after: String,
}

impl Placeholder {
    pub(super) fn is_user(&self) -> bool {
        self.name == USER_ID
    }

    /// Whether an id of this placeholder may begin with a text and be longer.
    fn may_continue(&self, beginning: &str, rules: &IdRules) -> bool {
        if self.is_user() { rules.allows_longer(beginning) } else { true }
    }

    /// Reads the id out of the text in its place.
    fn read(&self, text: &str, rules: &IdRules) -> Option<String> {
        self.spelling.read(text).filter(|id| rules.allows(&self.name, id))
    }
}

/// One segment of a prefix template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Fixed(String),
    Id(Placeholder),
}

impl Segment {
    pub(super) fn placeholder(&self) -> Option<&Placeholder> {
        match self {
            Self::Fixed(_) => None,
            Self::Id(placeholder) => Some(placeholder),
        }
    }

    /// The segment of one user. `None` if the user lacks the scope that the segment names.
    pub(super) fn fill(&self, user: &User) -> Option<Filled> {
        match self {
            Self::Fixed(text) => Some(Filled { text: text.clone(), id: 0..0 }),
            Self::Id(Placeholder { before, name, spelling, after }) => {
                let id = spelling.write(user.value(name)?);
                let place = before.len()..before.len() + id.len();
                Some(Filled { text: format!("{before}{id}{after}"), id: place })
            }
        }
    }

    /// How this segment can be the whole of a text.
    pub(super) fn match_whole(&self, text: &str, rules: &IdRules) -> Option<Match> {
        match self {
            Self::Fixed(fixed) => (fixed == text).then_some(Match::fixed(text.len())),
            Self::Id(placeholder) => {
                let rest = text.strip_prefix(placeholder.before.as_str())?;
                let written = rest.strip_suffix(placeholder.after.as_str())?;
                let id = placeholder.read(written, rules)?;
                let start = placeholder.before.len();
                let place = start..start + written.len();
                Some(Match { id: Some(id), place, fixed_end: text.len() })
            }
        }
    }

    /// The ways in which a text can begin with this segment.
    pub(super) fn match_beginning(&self, text: &str, rules: &IdRules) -> Vec<Match> {
        let Self::Id(placeholder) = self else {
            return Vec::new();
        };
        let start = placeholder.before.len();
        let Some(rest) = text.strip_prefix(placeholder.before.as_str()) else {
            return Vec::new();
        };
        let ends = (1..=rest.len()).filter(|end| rest[*end..].starts_with(&placeholder.after));
        let matches = ends.filter_map(|end| {
            let id = placeholder.read(&rest[..end], rules)?;
            let place = start..start + end;
            Some(Match { id: Some(id), fixed_end: place.end + placeholder.after.len(), place })
        });
        matches.collect()
    }

    /// The ways in which this segment can begin with a text.
    pub(super) fn match_longer(&self, text: &str, rules: &IdRules) -> Vec<Match> {
        let placeholder = match self {
            Self::Fixed(fixed) => {
                let is_longer = fixed.starts_with(text);
                return is_longer.then(|| Match::fixed(text.len())).into_iter().collect();
            }
            Self::Id(placeholder) => placeholder,
        };
        if placeholder.before.starts_with(text) {
            return vec![Match { id: None, place: text.len()..text.len(), fixed_end: text.len() }];
        }
        let Some(rest) = text.strip_prefix(placeholder.before.as_str()) else {
            return Vec::new();
        };
        let start = placeholder.before.len();
        let ends = (1..=rest.len()).filter(|end| placeholder.after.starts_with(&rest[*end..]));
        let mut matches: Vec<Match> = ends
            .filter_map(|end| {
                let id = placeholder.read(&rest[..end], rules)?;
                Some(Match { id: Some(id), place: start..start + end, fixed_end: text.len() })
            })
            .collect();
        // A longer id, which the text does not show whole.
        let beginning = placeholder.spelling.read_beginning(rest);
        if beginning.is_some_and(|beginning| placeholder.may_continue(&beginning, rules)) {
            matches.push(Match { id: None, place: start..text.len(), fixed_end: text.len() });
        }
        matches
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(text) => formatter.write_str(text),
            Self::Id(Placeholder { before, name, spelling, after }) => {
                let spelling = match spelling {
                    Spelling::Raw => "",
                    Spelling::UrlEncoded => ":urlencode",
                };
                write!(formatter, "{before}{{{name}{spelling}}}{after}")
            }
        }
    }
}

/// A segment of one user: its text, and where in it the id is; an empty range if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) text: String,
    pub(super) id: Range<usize>,
}

/// How a segment matches a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    /// The id in the text; `None` if the segment has none, or the text does not show it whole.
    pub(super) id: Option<String>,
    /// Where in the text the id is; an empty range if there is none.
    pub(super) place: Range<usize>,
    /// Where the segment's fixed text ends.
    fixed_end: usize,
}

impl Match {
    fn fixed(length: usize) -> Self {
        Self { id: None, place: 0..0, fixed_end: length }
    }

    /// Whether the id of the other segment of this text covers fixed text of this one.
    pub(super) fn is_covered_by(&self, other: &Filled) -> bool {
        covers(&other.id, &self.place, self.fixed_end)
    }

    /// Whether the id of this segment covers fixed text of the other segment of this text.
    pub(super) fn covers(&self, other: &Filled) -> bool {
        covers(&self.place, &other.id, other.text.len())
    }
}

/// Whether an id at one place covers fixed text around the id at another place.
fn covers(id: &Range<usize>, other_id: &Range<usize>, other_end: usize) -> bool {
    let is_behind = id.end > other_id.end && other_id.end < other_end;
    !id.is_empty() && (other_id.is_empty() || id.start < other_id.start || is_behind)
}
