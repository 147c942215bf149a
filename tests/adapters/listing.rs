//! The three listings: what is believed, and what is not.

use erase_user_files::ports::store::{Kind, ListedEntry, Page, ReadStore, StoreError};
use erase_user_files::target::{Target, User};

use crate::server::{Answer, LIMIT, Server, error, full, prefix};

const TRUNCATED: &str = "<IsTruncated>true</IsTruncated>";
const LAST: &str = "<IsTruncated>false</IsTruncated>";
const ENCODED: &str = "<EncodingType>url</EncodingType>";

/// The three listings, each by one of its kinds.
const LISTINGS: [Kind; 3] = [Kind::Objects, Kind::Versions, Kind::Uploads];

fn listing(kind: Kind, rest: &str) -> Answer {
    full(&match kind {
        Kind::Objects => format!("<ListBucketResult><Name>photos</Name>{rest}</ListBucketResult>"),
        Kind::Versions | Kind::DeleteMarkers => {
            format!("<ListVersionsResult>{rest}</ListVersionsResult>")
        }
        Kind::Uploads => format!("<ListMultipartUploadsResult>{rest}</ListMultipartUploadsResult>"),
    })
}

async fn list(kind: Kind, answer: Answer, token: Option<&str>) -> Result<Page, StoreError> {
    let server = Server::start(vec![answer]);
    let page = server.reader().list(&prefix(), kind, token, LIMIT).await;
    server.requests();
    page
}

fn next(name: &str, marker: &str) -> String {
    format!("<Next{name}Marker>{marker}</Next{name}Marker>")
}

/// The markers of the next page, for a listing of either kind.
fn markers(key: &str, id: &str) -> String {
    [next("Key", key), next("VersionId", id), next("UploadId", id)].concat()
}

/// A version and an upload: each listing takes what is its own.
fn entries(key: &str, id: &str) -> String {
    let (version_id, upload_id) = (id.replace("Id>", "VersionId>"), id.replace("Id>", "UploadId>"));
    format!("<Version>{key}{version_id}</Version><Upload>{key}{upload_id}</Upload>")
}

/// The token that two markers become.
async fn token_of(kind: Kind, key: &str, id: &str) -> Option<String> {
    let page =
        list(kind, listing(kind, &format!("{TRUNCATED}{ENCODED}{}", markers(key, id))), None)
            .await
            .expect("a page");
    page.next
}

fn keys(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|entry| entry.key.as_str()).collect()
}

#[tokio::test]
async fn denied_listing_reports_code_and_request_id() {
    for (kind, operation, permission) in [
        (Kind::Objects, "ListObjectsV2", "s3:ListBucket granted"),
        (Kind::Versions, "ListObjectVersions", "s3:ListBucketVersions granted"),
        (Kind::DeleteMarkers, "ListObjectVersions", "s3:ListBucketVersions granted"),
        (Kind::Uploads, "ListMultipartUploads", "s3:ListBucketMultipartUploads granted"),
    ] {
        let fault = list(kind, error(403, "AccessDenied"), None).await.unwrap_err();
        assert!(matches!(fault, StoreError::Permanent(_)), "{fault:?}");
        let text = fault.to_string();
        for part in [operation, "AccessDenied", "HTTP 403", "REQ1", permission] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
}

#[tokio::test]
async fn listings_request_prefix_and_url_encoding() {
    let server = Server::start(LISTINGS.map(|kind| listing(kind, LAST)).into());
    for kind in LISTINGS {
        server.reader().list(&prefix(), kind, None, LIMIT).await.unwrap();
    }
    let requests = server.requests();
    for (request, own) in requests.iter().zip(["list-type=2", "versions", "uploads"]) {
        for part in ["GET /photos", own, "encoding-type=url", "prefix=u1%2F"] {
            assert!(request.contains(part), "{part} is missing in: {request}");
        }
        assert!(!request.contains("marker") && !request.contains("token"), "{request}");
    }
}

#[tokio::test]
async fn listed_keys_are_decoded_once() {
    let answer = listing(
        Kind::Objects,
        "<Prefix>u1/</Prefix><KeyCount>4</KeyCount><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
         <Contents><Key>u1/a+b%2Bc%20d</Key><Size>7</Size><LastModified>2026-01-31T12:00:00.000Z</LastModified></Contents>\
         <Contents><Key>u1/%2525</Key><Size>0</Size></Contents>\
         <Contents><Key>u1/%01%EF%BF%BE%0D</Key></Contents>\
         <Contents><Key>u1/%F0%9F%A6%93%26lt%3B&amp;</Key></Contents>",
    );
    let page = list(Kind::Objects, answer, None).await.unwrap();
    assert_eq!(keys(&page), ["u1/a b+c d", "u1/%25", "u1/\u{1}\u{fffe}\r", "u1/🦓&lt;&"]);
    assert_eq!(
        (page.entries[0].kind, page.entries[0].id.as_deref(), page.entries[0].bytes),
        (Kind::Objects, None, 7)
    );
    assert_eq!(page.entries[0].last_modified.map(|at| at.unix_timestamp()), Some(1_769_860_800));
    assert_eq!((page.next, page.cut_at), (None, None));
}

#[tokio::test]
async fn unencoded_keys_are_taken_literally() {
    for (kind, entry) in [
        (Kind::Objects, "<Contents><Key>u1/a+b%2F</Key></Contents>"),
        (Kind::Versions, "<Version><Key>u1/a+b%2F</Key><VersionId>v</VersionId></Version>"),
        (Kind::Uploads, "<Upload><Key>u1/a+b%2F</Key><UploadId>u</UploadId></Upload>"),
    ] {
        let page = list(kind, listing(kind, &format!("<Prefix>u1/</Prefix>{LAST}{entry}")), None)
            .await
            .unwrap();
        assert_eq!(keys(&page), ["u1/a+b%2F"]);
    }
}

#[tokio::test]
async fn versions_and_delete_markers_share_one_listing() {
    let answer = || {
        listing(
            Kind::Versions,
            "<Prefix>u1%2F</Prefix><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
             <DeleteMarker><Key>u1/a+b</Key><VersionId>m1</VersionId><IsLatest>true</IsLatest>\
             <LastModified>2026-01-31T12:00:00.000Z</LastModified></DeleteMarker>\
             <Version><Key>u1/a+b</Key><VersionId>v+%20</VersionId><IsLatest>false</IsLatest><Size>7</Size>\
             <LastModified>2026-01-31T12:00:00.000Z</LastModified></Version>\
             <Version><Key>u1/a+b</Key><VersionId>null</VersionId><Size>3</Size></Version>\
             <DeleteMarker><Key>u1/%01</Key><VersionId>null</VersionId></DeleteMarker>",
        )
    };
    let entry = |kind, key: &str, id: &str, bytes| {
        let last_modified = ["m1", "v+%20"]
            .contains(&id)
            .then(|| time::OffsetDateTime::from_unix_timestamp(1_769_860_800).expect("a moment"));
        ListedEntry {
            kind,
            key: key.to_owned(),
            other_key: None,
            id: Some(id.to_owned()),
            bytes,
            last_modified,
        }
    };
    let expected = [
        entry(Kind::Versions, "u1/a b", "v+%20", 7),
        entry(Kind::Versions, "u1/a b", "null", 3),
        entry(Kind::DeleteMarkers, "u1/a b", "m1", 0),
        entry(Kind::DeleteMarkers, "u1/\u{1}", "null", 0),
    ];
    for kind in [Kind::Versions, Kind::DeleteMarkers] {
        let page = list(kind, answer(), None).await.unwrap();
        assert_eq!(
            (page.entries.as_slice(), page.next, page.cut_at),
            (expected.as_slice(), None, None)
        );
    }
}

#[tokio::test]
async fn uploads_are_listed_with_id_and_start_time() {
    let answer = listing(
        Kind::Uploads,
        "<Prefix>u1/</Prefix><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
         <Upload><Key>u1/a%26b</Key><UploadId>up+1</UploadId><Initiated>2026-01-31T12:00:00.000Z</Initiated></Upload>\
         <Upload><Key>u1/a%26b</Key><UploadId>up2</UploadId></Upload>",
    );
    let page = list(Kind::Uploads, answer, None).await.unwrap();
    assert_eq!(keys(&page), ["u1/a&b"; 2]);
    let (first, second) = (&page.entries[0], &page.entries[1]);
    assert_eq!((first.kind, first.id.as_deref(), first.bytes), (Kind::Uploads, Some("up+1"), 0));
    assert_eq!(first.last_modified.map(|at| at.unix_timestamp()), Some(1_769_860_800));
    assert_eq!((second.id.as_deref(), second.last_modified), (Some("up2"), None));
    assert_eq!((page.next, page.cut_at), (None, None));
}

/// Some stores encode keys in this listing without saying so, or say so without encoding.
#[tokio::test]
async fn ambiguous_upload_key_is_decoded_to_match_the_prefix() {
    let user = User::parse("a+b@c.d").expect("an id");
    let prefix = Target::parse("s3://photos/{user_id}/").expect("a target").prefix(&user);
    let page = |folder: &str, encoding: &str| {
        let upload = format!("<Upload><Key>{folder}/x</Key><UploadId>up1</UploadId></Upload>");
        let rest = format!("{encoding}<Prefix>{folder}/</Prefix>{TRUNCATED}{upload}");
        listing(Kind::Uploads, &(rest + &markers(&format!("{folder}/x"), "up1")))
    };
    for (folder, encoding) in
        [("a%2Bb%40c.d", ""), ("a%2Bb%40c.d", ENCODED), ("a+b@c.d", ""), ("a+b@c.d", ENCODED)]
    {
        let server = Server::start(vec![page(folder, encoding), listing(Kind::Uploads, LAST)]);
        let reader = server.reader();
        let page = reader.list(&prefix, Kind::Uploads, None, LIMIT).await.expect("a page");
        assert_eq!(keys(&page), ["a+b@c.d/x"], "{folder} {encoding}");
        reader.list(&prefix, Kind::Uploads, page.next.as_deref(), LIMIT).await.expect("a page");
        let request = server.requests().remove(1);
        assert!(
            request.split(['?', '&', ' ']).any(|part| part == "key-marker=a%2Bb%40c.d%2Fx"),
            "{request}"
        );
    }
    // Neither reading lies in the prefix.
    for folder in ["a%2Bb%40c.dd", "a%252Bb%2540c.d", "other"] {
        let server = Server::start(vec![page(folder, ENCODED)]);
        let answer = server.reader().list(&prefix, Kind::Uploads, None, LIMIT).await;
        assert!(matches!(answer, Err(StoreError::Inconsistent(_))), "{folder}: {answer:?}");
        server.requests();
    }
    // No other listing is read like that: where its encoding is wrong, nothing is deleted.
    let server = Server::start(vec![listing(
        Kind::Objects,
        &format!("<Prefix>a%2Bb%40c.d/</Prefix>{LAST}"),
    )]);
    let answer = server.reader().list(&prefix, Kind::Objects, None, LIMIT).await;
    assert!(matches!(answer, Err(StoreError::Inconsistent(_))), "{answer:?}");
    server.requests();
}

#[tokio::test]
async fn unsupported_listing_of_uploads_or_versions_is_an_error() {
    let page = list(Kind::Uploads, error(501, "NotImplemented"), None).await;
    let is_named = |text: &String| text.contains("cannot list unfinished uploads");
    assert!(matches!(&page, Err(StoreError::Permanent(text)) if is_named(text)), "{page:?}");
    let page = list(Kind::Versions, error(501, "NotImplemented"), None).await;
    assert!(matches!(page, Err(StoreError::Permanent(_))), "{page:?}");
}

#[tokio::test]
async fn continuation_markers_are_sent_back_unchanged() {
    for (kind, id_marker) in
        [(Kind::Versions, "version-id-marker"), (Kind::Uploads, "upload-id-marker")]
    {
        let first = format!(
            "{TRUNCATED}{ENCODED}{}",
            markers("u1/a+b%2Bc%01%EF%BF%BE%F0%9F%A6%93", "i+/=&amp;%20")
        );
        // Only one of the two needs to move.
        let second = format!("{TRUNCATED}{}", markers("u1/a b+c\u{fffd}", "null"));
        let third = format!("{TRUNCATED}{}", markers("u1/a b+c\u{fffd}", "0"));
        let server = Server::start(
            [first, second, third, LAST.to_owned()].map(|page| listing(kind, &page)).into(),
        );
        let reader = server.reader();
        let (mut token, mut cuts) = (None, vec![]);
        for _ in 0..4 {
            let page = reader.list(&prefix(), kind, token.as_deref(), LIMIT).await.unwrap();
            // The queue that carries the token does not take every character.
            assert!(
                page.next.iter().all(|token| token.bytes().all(|byte| byte.is_ascii_graphic())),
                "{page:?}"
            );
            token = page.next;
            cuts.push(page.cut_at);
        }
        assert_eq!(token, None);
        let expected = ["u1/a b+c\u{1}\u{fffe}🦓", "u1/a b+c\u{fffd}", "u1/a b+c\u{fffd}"];
        let expected = expected.map(|key| (kind == Kind::Versions).then(|| key.to_owned()));
        assert_eq!((&cuts[..3], &cuts[3]), (&expected[..], &None));
        let requests = server.requests();
        for (request, key, id) in [
            (&requests[1], "u1%2Fa%20b%2Bc%01%EF%BF%BE%F0%9F%A6%93", "i%2B%2F%3D%26%2520"),
            (&requests[2], "u1%2Fa%20b%2Bc%EF%BF%BD", "null"),
            (&requests[3], "u1%2Fa%20b%2Bc%EF%BF%BD", "0"),
        ] {
            let line = request.lines().next().unwrap();
            let parameters: Vec<&str> = line.split(['?', '&', ' ']).collect();
            for parameter in [format!("key-marker={key}"), format!("{id_marker}={id}")] {
                assert!(
                    parameters.contains(&parameter.as_str()),
                    "{parameter} is missing in: {line}"
                );
            }
        }
    }
}

fn continuation_token(bytes: usize) -> String {
    format!("<NextContinuationToken>{}</NextContinuationToken>", "t".repeat(bytes))
}

#[tokio::test]
async fn inconsistent_page_never_ends_a_listing() {
    for (name, rest) in [
        ("no IsTruncated", String::new()),
        ("more without a token", TRUNCATED.to_owned()),
        (
            "more with an empty token",
            format!("{TRUNCATED}<NextContinuationToken></NextContinuationToken>"),
        ),
        (
            "the same token again",
            format!("{TRUNCATED}<NextContinuationToken>t1</NextContinuationToken>"),
        ),
        ("a token of 2 MB", format!("{TRUNCATED}{}", continuation_token(2_000_000))),
        ("a token that is just too long", format!("{TRUNCATED}{}", continuation_token(16_385))),
        (
            "fewer keys than it says",
            format!("<KeyCount>2</KeyCount>{LAST}<Contents><Key>u1/a</Key></Contents>"),
        ),
        ("another prefix", format!("<Prefix>u10/</Prefix>{LAST}")),
        ("an object without a key", format!("{LAST}<Contents><Size>1</Size></Contents>")),
        ("a broken escape", format!("{ENCODED}{LAST}<Contents><Key>u1/%zz</Key></Contents>")),
        ("a cut escape", format!("{ENCODED}{LAST}<Contents><Key>u1/%e</Key></Contents>")),
        ("no UTF-8", format!("{ENCODED}{LAST}<Contents><Key>u1/%ff</Key></Contents>")),
    ] {
        let page = list(Kind::Objects, listing(Kind::Objects, &rest), Some("t1")).await;
        assert!(matches!(page, Err(StoreError::Inconsistent(_))), "{name}: {page:?}");
    }
    for (name, answer) in [
        (
            "cut off",
            Answer::CutOff(
                r#"<?xml version="1.0"?><ListBucketResult><IsTruncated>false"#.to_owned(),
            ),
        ),
        (
            "half a document",
            Answer::Full(200, r#"<?xml version="1.0"?><ListBucketResult>"#.to_owned()),
        ),
        ("cut before the objects", full("<ListBucketResult><IsTruncated>false</IsTruncated><Cont")),
        ("cut between tags", full("<ListBucketResult><IsTruncated>false</IsTruncated><Contents/>")),
        ("an empty body", Answer::Full(200, String::new())),
        ("an error as a 200", full("<Error><Code>InternalError</Code></Error>")),
        ("a page of a proxy", Answer::Full(200, "<html>welcome</html>".to_owned())),
    ] {
        let page = list(Kind::Objects, answer, None).await;
        assert!(
            matches!(page, Err(StoreError::Inconsistent(_) | StoreError::Unavailable(_))),
            "{name}: {page:?}"
        );
    }
}

#[tokio::test]
async fn missing_or_repeated_marker_is_an_error() {
    for kind in [Kind::Versions, Kind::Uploads] {
        let token = token_of(kind, "u1/k+1", "i1").await;
        for (name, rest) in [
            ("no IsTruncated", markers("u1/k2", "i2")),
            ("no markers", TRUNCATED.to_owned()),
            (
                "no key marker",
                format!("{TRUNCATED}{}", next("VersionId", "i2") + &next("UploadId", "i2")),
            ),
            ("no id marker", format!("{TRUNCATED}{}", next("Key", "u1/k2"))),
            ("an empty key marker", format!("{TRUNCATED}{}", markers("", "i2"))),
            ("an empty id marker", format!("{TRUNCATED}{}", markers("u1/k2", ""))),
            ("the same markers again", format!("{TRUNCATED}{}", markers("u1/k 1", "i1"))),
            (
                "the same markers again, encoded",
                format!("{TRUNCATED}{ENCODED}{}", markers("u1/k%201", "i1")),
            ),
            (
                "a key marker of 2 MB",
                format!("{TRUNCATED}{}", markers(&format!("u1/{}", "k".repeat(2_000_000)), "i2")),
            ),
            (
                "an id marker of 2 MB",
                format!("{TRUNCATED}{}", markers("u1/k2", &"i".repeat(2_000_000))),
            ),
            ("a key marker of another user", format!("{TRUNCATED}{}", markers("u10/k", "i2"))),
            (
                "a broken escape in the key marker",
                format!("{TRUNCATED}{ENCODED}{}", markers("u1/%zz", "i2")),
            ),
            ("another prefix", format!("<Prefix>u10/</Prefix>{LAST}")),
            ("an entry without an id", format!("{LAST}{}", entries("<Key>u1/a</Key>", ""))),
            (
                "an entry with an empty id",
                format!("{LAST}{}", entries("<Key>u1/a</Key>", "<Id></Id>")),
            ),
            ("an entry without a key", format!("{LAST}{}", entries("", "<Id>i</Id>"))),
            (
                "a broken escape",
                format!("{LAST}{ENCODED}{}", entries("<Key>u1/%zz</Key>", "<Id>i</Id>")),
            ),
        ] {
            let page = list(kind, listing(kind, &rest), token.as_deref()).await;
            // Some stores say that they encode the keys of uploads, and do not.
            let may_be_plain = kind == Kind::Uploads && name.starts_with("a broken escape");
            assert_eq!(
                matches!(page, Err(StoreError::Inconsistent(_))),
                !may_be_plain,
                "{kind:?}, {name}: {page:?}"
            );
        }
        for (name, answer) in [
            ("half a document", full("<R><IsTruncated>false</IsTruncated>")),
            ("an empty body", Answer::Full(200, String::new())),
            ("an error as a 200", full("<Error><Code>InternalError</Code></Error>")),
        ] {
            let page = list(kind, answer, None).await;
            assert!(
                matches!(page, Err(StoreError::Inconsistent(_) | StoreError::Unavailable(_))),
                "{name}: {page:?}"
            );
        }
    }
    for marker in [
        "<DeleteMarker><Key>u1/a</Key></DeleteMarker>",
        "<DeleteMarker><VersionId>v</VersionId></DeleteMarker>",
    ] {
        let page =
            list(Kind::Versions, listing(Kind::Versions, &format!("{LAST}{marker}")), None).await;
        assert!(matches!(page, Err(StoreError::Inconsistent(_))), "{page:?}");
    }
}

/// The SDK's reader ends at what it cannot read, without a word, and takes what came before for all
/// there is.
#[tokio::test]
async fn damaged_listing_is_never_complete() {
    for kind in LISTINGS {
        let hidden = "<Contents><Key>u1/a</Key></Contents>".to_owned()
            + &entries("<Key>u1/a</Key>", "<Id>i</Id>");
        for (name, damage) in [
            ("a control character", "\u{1}"),
            ("a control character in an element that nobody reads", "<Owner>\u{1}</Owner>"),
            ("an element that is not closed", "<Owner>"),
            ("an element that is closed by another", "<Owner></Other>"),
            ("an element that is closed twice", "</Owner>"),
            ("a lost bracket", "<Owner</Owner>"),
            ("a quote that is not closed", "<Owner a=\"></Owner>"),
            ("a reference in an attribute that nobody knows", "<Owner a=\"&x\"></Owner>"),
            ("a comment", "<!-- -->"),
            ("CDATA", "<![CDATA[x]]>"),
            ("an instruction", "<?x?>"),
        ] {
            let page = list(kind, listing(kind, &format!("{LAST}{damage}{hidden}")), None).await;
            assert!(matches!(page, Err(StoreError::Unavailable(_))), "{kind:?}, {name}: {page:?}");
        }
        let whole =
            list(kind, listing(kind, &format!("{LAST}<Owner></Owner>{hidden}")), None).await;
        assert_eq!(whole.map(|page| page.entries.len()), Ok(1), "{kind:?}");
    }
}

#[tokio::test]
async fn key_with_xml_comment_or_cdata_is_read_whole() {
    for key in ["u1/a<!-- -->b", "u1/a<![CDATA[b]]>", "u1/a<?x?>b"] {
        let page = list(
            Kind::Objects,
            listing(Kind::Objects, &format!("{LAST}<Contents><Key>{key}</Key></Contents>")),
            None,
        )
        .await;
        assert!(matches!(page, Err(StoreError::Unavailable(_))), "{key}: {page:?}");
    }
}

#[tokio::test]
async fn short_or_empty_page_with_token_continues() {
    let answer = listing(
        Kind::Objects,
        "<KeyCount>0</KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>t2</NextContinuationToken>",
    );
    let page = list(Kind::Objects, answer, Some("t1")).await.unwrap();
    assert_eq!((page.entries.len(), page.next.as_deref()), (0, Some("t2")));
    let longest = listing(Kind::Objects, &format!("{TRUNCATED}{}", continuation_token(16_384)));
    let page = list(Kind::Objects, longest, Some("t1")).await.unwrap();
    assert_eq!(page.next.map(|token| token.len()), Some(16_384));
    for kind in [Kind::Versions, Kind::Uploads] {
        let (first, second) =
            (token_of(kind, "u1/a", "1").await, token_of(kind, "u1/a", "2").await);
        let answer = listing(kind, &format!("{TRUNCATED}{}", markers("u1/a", "2")));
        let page = list(kind, answer, first.as_deref()).await.unwrap();
        assert_eq!((page.entries.len(), page.next), (0, second));
    }
}

#[tokio::test]
async fn only_a_rejected_token_restarts_the_listing() {
    for kind in LISTINGS {
        let token = match kind {
            Kind::Objects => Some("t 1".to_owned()),
            Kind::Versions | Kind::DeleteMarkers | Kind::Uploads => {
                token_of(kind, "u1/k", "i").await
            }
        };
        let token = token.as_deref();
        for code in ["InvalidArgument", "ExpiredContinuationToken", "InvalidRequest"] {
            let with_token = list(kind, error(400, code), token).await;
            assert!(
                matches!(with_token, Err(StoreError::TokenRejected(_))),
                "{kind:?}: {with_token:?}"
            );
            let without = list(kind, error(400, code), None).await;
            assert!(matches!(without, Err(StoreError::Permanent(_))), "{kind:?}: {without:?}");
        }
        let not_now = list(kind, error(503, "SlowDown"), token).await;
        assert!(matches!(not_now, Err(StoreError::Throttled(_))), "{kind:?}: {not_now:?}");
        let not_allowed = list(kind, error(403, "AccessDenied"), token).await;
        assert!(matches!(not_allowed, Err(StoreError::Permanent(_))), "{kind:?}: {not_allowed:?}");
    }
}

#[tokio::test]
async fn foreign_token_is_rejected_without_a_request() {
    let server = Server::start(vec![]);
    let reader = server.reader();
    for kind in [Kind::Versions, Kind::DeleteMarkers, Kind::Uploads] {
        for token in [
            "",
            "&",
            "u1/k",
            "&id",
            "u10%2Fk&id",
            "u1%2&id",
            "u1%2Fk%ff&id",
            "1ueGcrxLJRrLbN8Th+5cYaQbUwI4h0Bl2cJU5Q==",
            r#"["u1/k","id"]"#,
            "\u{0}\u{fffe}🦓&🦓",
        ] {
            let page = reader.list(&prefix(), kind, Some(token), LIMIT).await;
            assert!(matches!(page, Err(StoreError::TokenRejected(_))), "{token}: {page:?}");
            assert!(!page.unwrap_err().to_string().contains("u1"), "a token may hold a key");
        }
    }
    for (kind, token) in
        [(Kind::Uploads, "u1%2Fk&"), (Kind::Objects, "&u10%2Fk"), (Kind::Objects, "&u1%2")]
    {
        let page = reader.list(&prefix(), kind, Some(token), LIMIT).await;
        assert!(matches!(page, Err(StoreError::TokenRejected(_))), "{token}: {page:?}");
    }
    server.requests();
}

#[tokio::test]
async fn listing_can_start_after_a_key() {
    for (kind, parameter) in
        [(Kind::Objects, "start-after=u1%2Fk%20%2B"), (Kind::Versions, "key-marker=u1%2Fk%20%2B")]
    {
        let server = Server::start(vec![listing(kind, LAST)]);
        let reader = server.s3();
        let token = reader.token_after(kind, "u1/k +").expect("a place");
        reader.list(&prefix(), kind, Some(&token), LIMIT).await.expect("a page");
        let request = server.requests().remove(0);
        let line = request.lines().next().unwrap_or_default();
        assert!(line.contains(parameter), "{line}");
        for other in ["continuation-token", "version-id-marker"] {
            assert!(!line.contains(other), "{line}");
        }
    }
    for kind in [Kind::Objects, Kind::Versions] {
        let next =
            format!("<NextContinuationToken>t</NextContinuationToken>{}", markers("u1/l", "id"));
        let more = listing(kind, &format!("{TRUNCATED}{next}"));
        let version = "<Version><Key>u1/z</Key><VersionId>v</VersionId></Version>";
        let one = listing(kind, &format!("{LAST}<Contents><Key>u1/z</Key></Contents>{version}"));
        let marker = listing(
            kind,
            &format!("{LAST}<DeleteMarker><Key>u1/z</Key><VersionId>v</VersionId></DeleteMarker>"),
        );
        for (answer, is_any) in [
            (more, true),
            (one, true),
            (marker, kind == Kind::Versions),
            (listing(kind, LAST), false),
        ] {
            let server = Server::start(vec![answer]);
            assert_eq!(
                server.s3().is_any_behind(&prefix(), kind, "u1/k", LIMIT).await,
                Ok(is_any),
                "{kind:?}"
            );
            let request = server.requests().remove(0);
            assert!(request.contains("max-keys=1") && request.contains("=u1%2Fk"), "{request}");
        }
    }
    let reader = Server::start(vec![]).reader();
    assert_eq!(reader.token_after(Kind::Uploads, "u1/k"), None);
}

/// The adapter sends a store's tokens back unchanged, whatever they look like.
#[tokio::test]
async fn store_token_resembling_own_format_is_sent_unchanged() {
    let next = format!("{TRUNCATED}<NextContinuationToken>&amp;u1%2Fk</NextContinuationToken>");
    let page = list(Kind::Objects, listing(Kind::Objects, &next), None).await.expect("a page");
    let server = Server::start(vec![listing(Kind::Objects, LAST)]);
    server
        .reader()
        .list(&prefix(), Kind::Objects, page.next.as_deref(), LIMIT)
        .await
        .expect("a page");
    let request = server.requests().remove(0);
    assert!(request.contains("continuation-token=%26u1%252Fk"), "{request}");
}
