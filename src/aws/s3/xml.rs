//! Answers as XML documents: whole, or no answer.
//!
//! The SDK's reader takes an error in the text, and the end of the text, for the end of every
//! element: of a listing that was cut off or damaged somewhere, with intact HTTP around it, the
//! rest would be missing without a word. It would look like a short and last page, and an empty one
//! like a proof. So every answer is gone over from its first tag to its last. The two large ones
//! are read at the same time, because the SDK's reader would cost more than all the rest of the
//! work.

use std::borrow::Cow;
use std::str::FromStr;

use xmlparser::{ElementEnd, Reference, StrSpan, Stream, Token, Tokenizer};

/// An answer of which a part may be missing.
#[derive(Debug, thiserror::Error)]
#[error("the answer is cut off or damaged")]
pub(super) struct TruncatedXml;

/// What stands between the tags of an element.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Content<'a> {
    text: &'a str,
    has_children: bool,
}

impl<'a> Content<'a> {
    /// The text with its references resolved; `None` where it is no text alone.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        if self.has_children {
            return None;
        }
        let Some(first) = self.text.find('&') else {
            return Some(Cow::Borrowed(self.text));
        };
        let (plain, rest) = self.text.split_at(first);
        let (mut text, mut rest) = (plain.to_owned(), Stream::from(rest));
        while !rest.at_end() {
            if rest.curr_byte().ok()? == b'&' {
                match rest.consume_reference().ok()? {
                    Reference::Char(char) => text.push(char),
                    Reference::Entity(_) => return None,
                }
            } else {
                text.push_str(rest.consume_bytes(|_stream, byte| byte != b'&').as_str());
            }
        }
        Some(Cow::Owned(text))
    }

    /// The text as a number, or as `true` or `false`.
    pub(super) fn parse<T: FromStr>(self) -> Option<T> {
        self.text()?.parse().ok()
    }
}

/// Goes over a document, and shows every element at its end: with its path from the root, and its
/// content. `None` if it is not whole, or if what is shown is not taken.
///
/// Comments, CDATA and the like are refused, too: S3 sends none, and of a text with one in it the
/// SDK reads a part.
pub(super) fn walk<'a>(
    body: &'a [u8],
    mut show: impl FnMut(&[&'a str], Content<'a>) -> Option<()>,
) -> Option<()> {
    let text = std::str::from_utf8(body).ok()?;
    let mut path: Vec<&str> = Vec::new();
    let mut contents: Vec<Content<'_>> = Vec::new();
    let mut has_root = false;
    for token in Tokenizer::from(text) {
        match token.ok()? {
            Token::ElementStart { prefix, local, .. } => {
                if let Some(parent) = contents.last_mut() {
                    parent.has_children = true;
                }
                has_root = true;
                path.push(name(text, prefix, local)?);
                contents.push(Content::default());
            }
            Token::ElementEnd { end: ElementEnd::Close(prefix, local), .. } => {
                if path.last() != Some(&name(text, prefix, local)?) {
                    return None;
                }
                show(&path, contents.pop()?)?;
                path.pop();
            }
            Token::ElementEnd { end: ElementEnd::Empty, .. } => {
                show(&path, contents.pop()?)?;
                path.pop();
            }
            Token::Text { text } => {
                if let Some(content) = contents.last_mut() {
                    content.text = text.as_str();
                }
            }
            // Of a reference in an attribute that it does not know, the SDK's reader makes the end
            // of the text.
            Token::Attribute { value, .. } if value.as_str().contains('&') => return None,
            Token::Declaration { .. }
            | Token::Attribute { .. }
            | Token::ElementEnd { end: ElementEnd::Open, .. } => {}
            Token::ProcessingInstruction { .. }
            | Token::Comment { .. }
            | Token::Cdata { .. }
            | Token::DtdStart { .. }
            | Token::EmptyDtd { .. }
            | Token::EntityDeclaration { .. }
            | Token::DtdEnd { .. } => return None,
        }
    }
    (has_root && path.is_empty()).then_some(())
}

/// A name with its prefix. S3's own elements have none: one of another name space is none of them.
fn name<'a>(text: &'a str, prefix: StrSpan<'a>, local: StrSpan<'a>) -> Option<&'a str> {
    if prefix.is_empty() { Some(local.as_str()) } else { text.get(prefix.start()..local.end()) }
}
