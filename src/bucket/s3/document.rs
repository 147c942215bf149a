//! Whether an answer is whole.

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// Takes an XML answer only if its root element is closed.
///
/// The SDK's parser takes the end of the text for the end of every element: a listing that was cut off somewhere, with
/// intact HTTP around it, would look like a short and last page, and an empty one like a proof.
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
            return Err("the answer is cut off".into());
        }
        Ok(())
    }
}

/// Whether a body is empty, or an XML document whose last tag closes its first.
fn is_whole_document(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    // The prolog's tags begin with <? and <!.
    let root = body.windows(2).position(|two| two[0] == b'<' && two[1].is_ascii_alphabetic());
    let Some(root) = root.map(|start| &body[start + 1..]) else { return body.is_empty() };
    let name_ends = root.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(root.len());
    let closing = [b"</", &root[..name_ends], b">"].concat();
    let is_single_tag = root.ends_with(b"/>") && root.iter().position(|byte| *byte == b'>') == Some(root.len() - 1);
    body.ends_with(&closing) || is_single_tag
}
