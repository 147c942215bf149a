//! Any bytes as S3's answer to a listing or to a delete. The worst that can happen here is a page
//! that looks like the last one, and is not: then "erased" is said of a user whose files are still
//! there.

use erase_user_files::ports::store::{Item, Kind, ListedEntry, Page, StoreError};
use roxmltree::{Document, Node};

use super::keys::decoded;
use super::store::{Store, with_store};

/// What the first letter of an input says about its listing.
#[derive(Debug, Clone, Copy)]
struct Question {
    kind: Kind,
    root: &'static str,
    entries: &'static [(&'static str, Kind)],
    id: Option<&'static str>,
    token: Option<&'static str>,
}

impl Question {
    fn of(letter: u8) -> Option<Self> {
        let versions = &[("Version", Kind::Versions), ("DeleteMarker", Kind::DeleteMarkers)][..];
        let (kind, root, entries, id) = match letter.to_ascii_lowercase() {
            b'o' => (Kind::Objects, "ListBucketResult", &[("Contents", Kind::Objects)][..], None),
            b'v' => (Kind::Versions, "ListVersionsResult", versions, Some("VersionId")),
            b'u' => (
                Kind::Uploads,
                "ListMultipartUploadsResult",
                &[("Upload", Kind::Uploads)][..],
                Some("UploadId"),
            ),
            _ => return None,
        };
        // A capital letter: not the first page.
        let token =
            letter.is_ascii_uppercase().then_some(if id.is_none() { "t1" } else { "u1%2Fa&1" });
        Some(Self { kind, root, entries, id, token })
    }
}

/// Takes an input: a letter for the kind of request, and the body of the response.
pub(crate) fn check(data: &[u8]) {
    let Some((letter, body)) = data.split_first() else {
        return;
    };
    with_store(|store| match (Question::of(*letter), letter) {
        (Some(question), _) => check_listing(store, question, body),
        (None, b's') => check_versioning(store, body),
        (None, b'd') => check_deletion(store, body),
        (None, _) => {}
    });
}

/// Takes a whole answer, and every part of it that begins at its beginning.
#[cfg(test)]
pub(crate) fn check_every_cut(data: &[u8]) {
    let whole = data.trim_ascii_end().len();
    let is_taken = |store: &Store, end: usize| match Question::of(data[0]) {
        Some(question) => store.list(question.kind, question.token, &data[1..end]).is_ok(),
        None if data[0] == b'd' => store.delete(&asked(store), &data[1..end]).is_ok(),
        None => store.is_versioned(&data[1..end]).is_ok(),
    };
    with_store(|store| {
        let taken: Vec<_> = (1..=data.len()).filter(|end| is_taken(store, *end)).collect();
        assert_eq!(taken, (whole..=data.len()).collect::<Vec<_>>());
    });
}

fn check_listing(store: &Store, question: Question, body: &[u8]) {
    match store.list(question.kind, question.token, body) {
        Ok(page) => {
            compare(store, question, &page, body);
            for end in cuts(body) {
                let cut = store.list(question.kind, question.token, &body[..end]);
                assert!(cut.is_err(), "cut off at {end}, it is taken as {cut:?}");
            }
        }
        Err(fault @ (StoreError::Unavailable(_) | StoreError::Inconsistent(_))) => {
            assert!(!fault.to_string().contains("u1/"), "a key in a log: {fault}");
        }
        Err(fault) => unreachable!("an answer of 200 leads to {fault}"),
    }
}

/// What the request deletes.
const KEYS: [&str; 4] = ["u1/a", "u1/b&", "u1/c d", "u1/é"];

fn asked(store: &Store) -> Vec<Item> {
    let item = |key: &str| Item {
        kind: Kind::Objects,
        key: store.prefix.claim(key.to_owned()).expect("a key of u1"),
        other_key: None,
        id: None,
        bytes: 0,
        last_modified: None,
    };
    KEYS.map(item).into()
}

/// Whatever counts as deleted must be so in the document.
fn check_deletion(store: &Store, body: &[u8]) {
    let items = asked(store);
    let deletion = match store.delete(&items, body) {
        Ok(deletion) => deletion,
        Err(fault) => {
            return assert!(!fault.to_string().contains("u1/"), "a key in a log: {fault}");
        }
    };
    for end in cuts(body) {
        let cut = store.delete(&items, &body[..end]);
        assert!(cut.is_err(), "cut off at {end}, it is taken as {cut:?}");
    }
    let Some(document) = read(body) else { return };
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "DeleteResult");
    for (index, key) in KEYS.iter().enumerate() {
        let is_about = |node: &Node<'_, '_>| text(*node, "Key").as_deref() == Some(key);
        let is_deleted = children(root, "Deleted").any(|node| is_about(&node));
        let is_gone =
            |node: Node<'_, '_>| text(node, "Code").is_some_and(|code| code.starts_with("NoSuch"));
        let was_gone = children(root, "Error").any(|node| is_about(&node) && is_gone(node));
        let has_failed = deletion.failures.iter().any(|failure| failure.index == index);
        assert!(
            has_failed || is_deleted || was_gone,
            "{key} is not in the answer, and counts as deleted"
        );
    }
}

/// Whether a bucket keeps versions decides which listing is the proof.
fn check_versioning(store: &Store, body: &[u8]) {
    let Ok(is_versioned) = store.is_versioned(body) else {
        return;
    };
    if let Some(document) = read(body) {
        let root = document.root_element();
        assert_eq!(child(root, "Status").is_some(), is_versioned);
        assert_ne!(text(root, "MfaDelete").as_deref(), Some("Enabled"));
    }
    for end in cuts(body) {
        let cut = store.is_versioned(&body[..end]);
        assert!(cut.is_err(), "cut off at {end}, it is taken as {cut:?}");
    }
}

/// The page must say what an independent reader finds in the document.
fn compare(store: &Store, question: Question, page: &Page, body: &[u8]) {
    let Some(document) = read(body) else { return };
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), question.root);
    let is_encoded = text(root, "EncodingType").as_deref() == Some("url");
    let key_of = |node, name| {
        let key = text(node, name).expect("a key");
        if is_encoded { decoded(&key).expect("an encoded key") } else { key }
    };
    let mut expected: Vec<_> = Vec::new();
    for (name, kind) in question.entries {
        for node in children(root, name) {
            let id = question.id.map(|name| text(node, name).expect("an id"));
            expected.push((*kind, key_of(node, "Key"), id));
        }
    }
    let found = |entry: &ListedEntry| (entry.kind, entry.key.clone(), entry.id.clone());
    assert_eq!(page.entries.iter().map(found).collect::<Vec<_>>(), expected);
    for entry in &page.entries {
        assert_eq!(store.prefix.claim(entry.key.clone()).is_ok(), entry.key.starts_with("u1/"));
    }
    // "The last page" needs a word of its own.
    let truncated = if page.next.is_some() { "true" } else { "false" };
    assert_eq!(text(root, "IsTruncated").as_deref(), Some(truncated));
    if let Some(prefix) = text(root, "Prefix") {
        assert_eq!(
            if is_encoded { decoded(&prefix) } else { Some(prefix) }.as_deref(),
            Some("u1/")
        );
    }
    if let Some(token) = &page.next {
        assert!(token.len() <= 16_384 && Some(token.as_str()) != question.token);
    }
}

/// An independent reading of the answer. `None`: it only breaks rules that lose nothing.
fn read(body: &[u8]) -> Option<Document<'_>> {
    use roxmltree::Error as E;
    let body = std::str::from_utf8(body).expect("a document of UTF-8");
    match Document::parse(body) {
        // XML replaces every kind of line end by one character. S3 encodes it in keys, and the
        // SDK's reader does not replace it.
        Ok(document) => (!body.contains('\r')).then_some(document),
        // Names of attributes and name spaces, and references in what the function does not read.
        Err(
            E::UnknownNamespace(..)
            | E::DuplicatedNamespace(..)
            | E::DuplicatedAttribute(..)
            | E::InvalidXmlPrefixUri(..)
            | E::UnexpectedXmlUri(..)
            | E::UnexpectedXmlnsUri(..)
            | E::InvalidElementNamePrefix(..)
            | E::UnknownEntityReference(..)
            | E::MalformedEntityReference(..),
        ) => None,
        Err(error) => unreachable!("this is no document, and was taken for one: {error}"),
    }
}

fn children<'d>(node: Node<'d, 'd>, name: &str) -> impl Iterator<Item = Node<'d, 'd>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

fn child<'d>(node: Node<'d, 'd>, name: &str) -> Option<Node<'d, 'd>> {
    children(node, name).last()
}

fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name).map(|child| child.text().unwrap_or_default().to_owned())
}

/// Two places to cut an answer, other ones for each: anywhere, and behind a tag.
fn cuts(body: &[u8]) -> impl Iterator<Item = usize> {
    let number = body
        .iter()
        .fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let whole = body.trim_ascii_end().len();
    let tags =
        body[..whole].iter().enumerate().filter(|(_, byte)| **byte == b'>').map(|(at, _)| at + 1);
    let tags: Vec<_> = tags.filter(|end| *end < whole).collect();
    let tag = tags.get(number / 7 % tags.len().max(1)).copied();
    [number.checked_rem(whole), tag].into_iter().flatten()
}
