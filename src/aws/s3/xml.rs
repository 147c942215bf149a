//! Reads XML responses, and only if they are complete.
//!
//! The SDK's XML reader treats a syntax error or the end of input as closing all open elements, so
//! a truncated or damaged listing in intact HTTP looks like a short last page, and an empty one
//! like a proof. So every response is checked from its first to its last tag. The two large
//! responses are parsed in the same pass, because the SDK's reader would cost more than the rest of
//! the work.

use std::borrow::Cow;
use std::str::FromStr;

use xmlparser::{ElementEnd, Reference, StrSpan, Stream, Token, Tokenizer};

/// The response may lack a part.
#[derive(Debug, thiserror::Error)]
#[error("the response is truncated or invalid")]
pub(super) struct TruncatedXml;

/// The content between the tags of an element.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Content<'a> {
    text: &'a str,
    has_children: bool,
}

impl<'a> Content<'a> {
    /// The text with its references resolved; `None` if the element has children or the text is
    /// invalid.
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

    /// The text parsed as a number, or as `true` or `false`.
    pub(super) fn parse<T: FromStr>(self) -> Option<T> {
        self.text()?.parse().ok()
    }
}

/// Walks through a document and passes each element to `show` at its end, with its path from the
/// root and its content. Returns `None` if the document is incomplete or `show` rejects an element.
///
/// Comments, CDATA and the like are rejected, too: S3 sends none, and the SDK reads only a part of
/// a text that contains one.
pub(super) fn walk<'a>(
    body: &'a [u8],
    mut show: impl FnMut(&[&'a str], Content<'a>) -> Option<()>,
) -> Option<()> {
    // S3 keeps the connection of a slow request open with white space before the document.
    // https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    let text = std::str::from_utf8(body).ok()?.trim_ascii_start();
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
            // The SDK's reader treats an unknown reference in an attribute as the end of input.
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

/// A name with its namespace prefix. S3's own elements have no prefix, so an element with one is
/// not S3's.
fn name<'a>(text: &'a str, prefix: StrSpan<'a>, local: StrSpan<'a>) -> Option<&'a str> {
    if prefix.is_empty() { Some(local.as_str()) } else { text.get(prefix.start()..local.end()) }
}
