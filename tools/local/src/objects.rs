use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::EncodingType;
use futures::stream::{self, StreamExt, TryStreamExt};
use percent_encoding::percent_decode_str;

use crate::Error;

/// More do not make a local server faster.
const AT_ONCE: usize = 16;

/// Puts many objects, several of them concurrently.
pub async fn put_objects(
    s3: &Client,
    bucket: &str,
    objects: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<(), Error> {
    let puts = objects.into_iter().map(|(key, body)| async move {
        let put =
            s3.put_object().bucket(bucket).key(&key).body(ByteStream::from(body)).send().await;
        put.map(|_| ()).map_err(|error| Error::sdk(format!("put {key:?}"), error))
    });
    stream::iter(puts).buffer_unordered(AT_ONCE).try_collect().await
}

/// Every key below a prefix, in the server's order. Not the function's own listing: this one checks
/// it.
pub async fn list_keys(s3: &Client, bucket: &str, prefix: &str) -> Result<Vec<String>, Error> {
    let mut keys = Vec::new();
    let mut token = None;
    loop {
        let request =
            s3.list_objects_v2().bucket(bucket).prefix(prefix).encoding_type(EncodingType::Url);
        let answer = request.set_continuation_token(token).send().await;
        let answer =
            answer.map_err(|error| Error::sdk(format!("list s3://{bucket}/{prefix}"), error))?;
        for object in answer.contents() {
            keys.push(decode(object.key().unwrap_or_default()));
        }
        token = answer.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            return Ok(keys);
        }
    }
}

/// The content of one object.
pub async fn read_object(s3: &Client, bucket: &str, key: &str) -> Result<Vec<u8>, Error> {
    read_version(s3, bucket, key, None).await
}

/// The content of one version, or of the newest.
pub async fn read_version(
    s3: &Client,
    bucket: &str,
    key: &str,
    version: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let doing = || format!("read {key:?}");
    let answer = s3
        .get_object()
        .bucket(bucket)
        .key(key)
        .set_version_id(version.map(str::to_owned))
        .send()
        .await;
    let body = answer.map_err(|error| Error::sdk(doing(), error))?.body.collect().await;
    Ok(body.map_err(|error| Error::body(doing(), error))?.to_vec())
}

/// Every object below a prefix with its content, sorted by key.
pub async fn read_objects(
    s3: &Client,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let reads = list_keys(s3, bucket, prefix).await?.into_iter().map(|key| async move {
        let body = read_object(s3, bucket, &key).await?;
        Ok::<_, Error>((key, body))
    });
    let mut objects: Vec<_> = stream::iter(reads).buffer_unordered(AT_ONCE).try_collect().await?;
    objects.sort();
    Ok(objects)
}

/// In a listing with `encoding-type=url`, a space comes as `+`.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn decodes_what_a_listing_encodes() {
        assert_eq!(super::decode("u1/a+b%2Bc%25%0D%F0%9F%98%80"), "u1/a b+c%\r😀");
    }
}
