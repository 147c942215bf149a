//! Whether an answer is whole.

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use xmlparser::{ElementEnd, Token, Tokenizer};

/// Takes an XML answer only if it is a document from its first tag to its last.
///
/// The SDK's reader takes an error in the text, and the end of the text, for the end of every element: of a listing
/// that was cut off or damaged somewhere, with intact HTTP around it, the rest would be missing without a word. It would
/// look like a short and last page, and an empty one like a proof.
#[derive(Debug)]
pub(super) struct WholeDocument;

impl Intercept for WholeDocument {
    fn name(&self) -> &'static str {
        "WholeDocument"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        if context.response().status().is_success() && !is_whole_document(body) {
            return Err("the answer is cut off or damaged".into());
        }
        Ok(())
    }
}

/// Whether a body is empty, or an XML document in which every tag is closed by its own.
///
/// Comments, CDATA and the like are refused, too: S3 sends none, and of a text with one in it the SDK reads a part.
fn is_whole_document(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut open = Vec::new();
    for token in Tokenizer::from(text) {
        match token {
            Ok(Token::ElementStart { prefix, local, .. }) => open.push((prefix.as_str(), local.as_str())),
            Ok(Token::ElementEnd { end: ElementEnd::Close(prefix, local), .. }) => {
                if open.pop() != Some((prefix.as_str(), local.as_str())) {
                    return false;
                }
            }
            Ok(Token::ElementEnd { end: ElementEnd::Empty, .. }) => {
                open.pop();
            }
            // Of a reference in an attribute that it does not know, the SDK's reader makes the end of the text.
            Ok(Token::Attribute { value, .. }) if value.as_str().contains('&') => return false,
            Ok(
                Token::Declaration { .. }
                | Token::Attribute { .. }
                | Token::ElementEnd { end: ElementEnd::Open, .. }
                | Token::Text { .. },
            ) => {}
            Ok(
                Token::ProcessingInstruction { .. }
                | Token::Comment { .. }
                | Token::Cdata { .. }
                | Token::DtdStart { .. }
                | Token::EmptyDtd { .. }
                | Token::EntityDeclaration { .. }
                | Token::DtdEnd { .. },
            )
            | Err(_) => return false,
        }
    }
    open.is_empty()
}
