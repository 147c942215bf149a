//! Keys on their way through URL encoding and XML, and back to the store in a token.

use std::fmt::Write;

use erase_user_files::ports::store::{Kind, StoreError};

use super::store::{Store, with_store};

/// Undoes URL encoding, written without looking at the function's own way. `None`: it is not
/// encoded like that.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [char::from(rest.next()?), char::from(rest.next()?)];
                let [high, low] = digits.map(|digit| digit.to_digit(16));
                u8::try_from(high? * 16 + low?).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Encodes every byte, so that any text can be in XML.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        write!(all, "%{byte:02x}").expect("a string takes all");
        all
    })
}

/// The text as XML writes it. `None`: XML has no form for one of its characters.
fn xml(text: &str) -> Option<String> {
    let is_xml = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    let escaped = || text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.chars().all(is_xml).then(escaped)
}

/// The key that the adapter reads where a listing has this text; `None`: the adapter does not
/// believe the answer.
fn listed(store: &Store, text: &str) -> Option<String> {
    let body = format!(
        "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
         <Contents><Key>{text}</Key></Contents></ListBucketResult>"
    );
    match store.list(Kind::Objects, None, body.as_bytes()) {
        Ok(mut page) => {
            assert_eq!((page.entries.len(), page.next), (1, None));
            Some(page.entries.remove(0).key)
        }
        Err(fault @ (StoreError::Inconsistent(_) | StoreError::Unavailable(_))) => {
            assert!(text.len() < 4 || !fault.to_string().contains(text), "{fault}");
            None
        }
        Err(fault) => unreachable!("the answer was a listing, and not {fault}"),
    }
}

/// Takes any text as a key, encoded and as if it were encoded already.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    with_store(|store| {
        // Unchanged, it may or may not be encoded.
        let expected = decoded(text);
        if let Some(text) = xml(text) {
            assert_eq!(listed(store, &text), expected);
        }
        // Any encoded key is decoded to itself, and is the user's or not by its first letters
        // alone.
        let key = listed(store, &encoded(text)).expect("an encoded key can be read");
        assert_eq!(key, text);
        let own = store.prefix.claim(key);
        assert_eq!(own.is_ok(), text.starts_with("u1/"));
        assert!(own.is_err() || own.is_ok_and(|key| key.as_str() == text));
        check_markers(store, text);
    });
}

/// Two markers become a token for the queue, and markers again.
fn check_markers(store: &Store, text: &str) {
    let key = format!("u1/{text}");
    let Some(id) = xml(text).filter(|id| !id.is_empty()) else {
        return;
    };
    // One of the two listings with markers for each text.
    let (kind, root, id_name, id_marker) = if text.len().is_multiple_of(2) {
        (Kind::Versions, "ListVersionsResult", "VersionId", "version-id-marker")
    } else {
        (Kind::Uploads, "ListMultipartUploadsResult", "UploadId", "upload-id-marker")
    };
    let body = format!(
        "<{root}><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
         <NextKeyMarker>{}</NextKeyMarker><Next{id_name}Marker>{id}</Next{id_name}Marker></{root}>",
        encoded(&key)
    );
    let page = store.list(kind, None, body.as_bytes()).expect("a page with markers");
    let token = page.next.expect("more follows");
    assert!(token.bytes().all(|byte| byte.is_ascii_graphic()), "{token}");
    assert_eq!(page.cut_at.as_deref(), (kind == Kind::Versions).then_some(key.as_str()));
    let again = store.list(kind, Some(&token), body.as_bytes());
    assert!(
        matches!(again, Err(StoreError::Inconsistent(_))),
        "the markers did not move: {again:?}"
    );
    assert_eq!(store.asked("key-marker").as_deref(), Some(key.as_str()));
    assert_eq!(store.asked(id_marker).as_deref(), Some(text));
}
