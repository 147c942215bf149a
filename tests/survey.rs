//! The survey: how products, frameworks and teams lay out users' files, name users, and ask for
//! erasures. Each row is tried, so that the documentation can state the counts from this run:
//! `cargo test --test survey -- --nocapture`.

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use erase_user_files::config::Config;
use erase_user_files::message::erasure::Erasure;
use regex_lite::Regex;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

type Settings<'a> = &'a [(&'a str, &'a str)];

const QUEUE: (&str, &str) =
    ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/erase");
const PLAIN: (&str, &str) = ("ERASE_TARGETS", "s3://data/{user_id}/");
const DIGITS: (&str, &str) = ("USER_ID_CHARACTERS", "0-9");
const TENANTS: (&str, &str) = ("SCOPE_IDS", "tenant_id=/tenantId");

fn start(settings: Settings<'_>) -> Result<Config, String> {
    let all = [settings, &[QUEUE]].concat();
    let lookup = |name: &str| {
        let found = all.iter().find(|(setting, _)| *setting == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Config::from_vars(lookup).map_err(|error| error.to_string())
}

fn read(config: &Config, body: &Value) -> Result<Erasure, String> {
    Erasure::parse(&body.to_string(), Some("message-1"), config).map_err(|error| error.to_string())
}

/// What one user has, as `BUCKET/KEY`.
fn prefixes(config: &Config, erasure: &Erasure) -> Vec<String> {
    let targets = config.targets.as_slice().iter();
    let prefixes = targets.map(|target| target.prefix(&erasure.user));
    prefixes.map(|prefix| format!("{}/{}", prefix.bucket(), prefix.as_str())).collect()
}

/// Whether an erasure of this user may delete the key.
fn is_owned(config: &Config, erasure: &Erasure, key: &str) -> bool {
    let mut targets = config.targets.as_slice().iter();
    targets.any(|target| target.prefix(&erasure.user).claim(key.to_owned()).is_ok())
}

/// How a layout is erased.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    settings: Settings<'a>,
    /// The fields of the message that say who.
    user: &'a str,
    keys: &'a [&'a str],
    neighbours: &'a [&'a str],
}

#[derive(Debug)]
enum Layout<'a> {
    /// All files of the layout are erased.
    Whole(Place<'a>),
    /// Some of its files are, and others are not, for this reason.
    Part(Place<'a>, &'a str),
    /// No setting can name the user's files: the start is rejected for this reason.
    None { setting: (&'a str, &'a str), error: &'a str },
    /// The keys name no user. A sample key.
    NoUser(&'a str),
}

const fn place<'a>(
    settings: Settings<'a>,
    user: &'a str,
    keys: &'a [&'a str],
    neighbours: &'a [&'a str],
) -> Place<'a> {
    Place { settings, user, keys, neighbours }
}

const OTHER_RECORD: &str = "files of other models carry the record's id";

/// All rows; one place for each.
const LAYOUTS: [(&str, Layout<'_>); 40] = [
    (
        "Cognito identity in IAM policies",
        Layout::Whole(place(
            &[("ERASE_TARGETS", "s3://data/avatars/{user_id}/,s3://data/folder/{user_id}/raw/")],
            r#"{"userId": "eu-west-1:be14b9a2"}"#,
            &["avatars/eu-west-1:be14b9a2/a.jpg", "folder/eu-west-1:be14b9a2/raw/a"],
            &["avatars/eu-west-1:be14b9a/a.jpg", "folder/eu-west-1:be14b9a2/a"],
        )),
    ),
    (
        "Amplify Storage private/ and protected/",
        Layout::Whole(place(
            &[("ERASE_TARGETS", "s3://data/private/{user_id}/,s3://data/protected/{user_id}/")],
            r#"{"userId": "eu-west-1:be14b9a2"}"#,
            &["private/eu-west-1:be14b9a2/a.jpg", "protected/eu-west-1:be14b9a2/a.jpg"],
            &["private/eu-west-1:be14b9a21/a.jpg", "public/a.jpg"],
        )),
    ),
    ("Amplify Storage public/", Layout::NoUser("public/a.jpg")),
    (
        "users/{id}/",
        Layout::Whole(place(
            &[("ERASE_TARGETS", "s3://data/users/{user_id}/")],
            r#"{"userId": "1"}"#,
            &["users/1/a.jpg", "users/1/a/b/c"],
            &["users/10/a.jpg", "users/1", "users/01/a", "1/a"],
        )),
    ),
    (
        "{id}/ at the root",
        Layout::Whole(place(
            &[PLAIN],
            r#"{"userId": "1"}"#,
            &["1/a.jpg"],
            &["10/a.jpg", "1", "x/1/a"],
        )),
    ),
    (
        "uploads/{id}/",
        Layout::Whole(place(
            &[("ERASE_TARGETS", "s3://data/uploads/{user_id}/")],
            r#"{"userId": "1"}"#,
            &["uploads/1/a.jpg"],
            &["uploads/10/a.jpg"],
        )),
    ),
    (
        "exports/{id}/",
        Layout::Whole(place(
            &[("ERASE_TARGETS", "s3://data/exports/{user_id}/")],
            r#"{"userId": "1"}"#,
            &["exports/1/2026.csv"],
            &["exports/1.csv"],
        )),
    ),
    (
        "folders in design documents",
        Layout::Whole(place(
            &[(
                "ERASE_TARGETS",
                "s3://data/assets/{user_id}/,s3://data/Circle/avatars/{user_id}/,s3://data/users/{user_id}/files/",
            )],
            r#"{"userId": "u-1"}"#,
            &["assets/u-1/a", "Circle/avatars/u-1/a", "users/u-1/files/a"],
            &["assets/u-1x/a", "Circle/avatars/u/1/a", "users/u-1/a"],
        )),
    ),
    (
        "Shrine pretty_location",
        Layout::Whole(place(
            &[("ERASE_TARGETS", "s3://data/user/{user_id}/")],
            r#"{"userId": 564}"#,
            &["user/564/avatar/thumb-a.jpg"],
            &["user/5640/avatar/thumb-a.jpg"],
        )),
    ),
    (
        "CarrierWave uploads/user/avatar/{id}/",
        Layout::Part(
            place(
                &[(
                    "ERASE_TARGETS",
                    "s3://data/uploads/user/avatar/{user_id}/,s3://data/uploads/user/cover/{user_id}/",
                )],
                r#"{"userId": 7}"#,
                &["uploads/user/avatar/7/a.jpg", "uploads/user/cover/7/a.jpg"],
                &["uploads/user/avatar/70/a.jpg", "uploads/post/image/7/a.jpg"],
            ),
            OTHER_RECORD,
        ),
    ),
    (
        "GitLab user/avatar/{id}/",
        Layout::Part(
            place(
                &[("ERASE_TARGETS", "s3://data/user/avatar/{user_id}/")],
                r#"{"userId": 7}"#,
                &["user/avatar/7/a.jpg"],
                &["user/avatar/70/a.jpg", "note/7/a.jpg"],
            ),
            OTHER_RECORD,
        ),
    ),
    (
        "Immich",
        Layout::Part(
            place(
                &[(
                    "ERASE_TARGETS",
                    "s3://data/upload/{user_id}/,s3://data/thumbs/{user_id}/,s3://data/encoded-video/{user_id}/,s3://data/profile/{user_id}/,s3://data/library/{user_id}/",
                )],
                r#"{"userId": "6f1c"}"#,
                &[
                    "upload/6f1c/ab/cd/a.jpg",
                    "thumbs/6f1c/ab/cd/a.jpg",
                    "encoded-video/6f1c/ab/cd/a.mp4",
                    "profile/6f1c/a.jpg",
                    "library/6f1c/2026/a.jpg",
                ],
                &["upload/6f1/ab/cd/a.jpg", "library/ada/2026/a.jpg"],
            ),
            "library/ may have a second name of the user, the storage label",
        ),
    ),
    (
        "Mattermost",
        Layout::Part(
            place(
                &[("ERASE_TARGETS", "s3://data/users/{user_id}/")],
                r#"{"userId": "w1x2"}"#,
                &["users/w1x2/profile.png"],
                &["20261129/teams/noteam/channels/c1/users/w1x2/f1/a.pdf"],
            ),
            "attachments have an unknown date and an unknown channel before the user",
        ),
    ),
    (
        "Supabase Storage {userId}/",
        Layout::Part(
            place(&[PLAIN], r#"{"userId": "5f0c1a9e"}"#, &["5f0c1a9e/a.jpg"], &["5f0c1a9/a.jpg"]),
            "a hosted bucket lets no role in, and rows in Postgres stay",
        ),
    ),
    (
        "Django user_{id}/",
        Layout::Whole(place(
            &[("ERASE_TARGETS", "s3://data/media/user_{user_id}/")],
            r#"{"userId": 1}"#,
            &["media/user_1/a.jpg"],
            &["media/user_10/a.jpg", "media/xuser_1/a.jpg", "media/user_1x/a", "media/1/a"],
        )),
    ),
    (
        "Hive user_id={id}/",
        Layout::Whole(place(
            &[(
                "ERASE_TARGETS",
                "s3://data/raw/user_id={user_id}/,s3://data/images/user_id={user_id}/",
            )],
            r#"{"userId": "1"}"#,
            &["raw/user_id=1/fetch_date=2026-11-29/a", "images/user_id=1/image_id=2/a"],
            &["raw/user_id=10/fetch_date=2026-11-29/a", "raw/week=1/user_id=1/a"],
        )),
    ),
    (
        "{tenantId}/{userId}/",
        Layout::Whole(place(
            &[
                TENANTS,
                (
                    "ERASE_TARGETS",
                    "s3://data/{tenant_id}/{user_id}/,s3://other/avatars/{tenant_id}/{user_id}/",
                ),
            ],
            r#"{"userId": 12, "tenantId": "a"}"#,
            &["a/12/x.jpg", "avatars/a/12/x.jpg"],
            &["b/12/x.jpg", "a/120/x.jpg", "avatars/b/12/x.jpg", "12/x.jpg"],
        )),
    ),
    (
        "flat file named after the user",
        Layout::Whole(place(
            &[
                DIGITS,
                ("ERASE_KEYS", "s3://data/avatars/{user_id}.*,s3://data/exports/{user_id}.csv"),
            ],
            r#"{"userId": 12}"#,
            &["avatars/12.jpg", "avatars/12.webp", "exports/12.csv"],
            &[
                "avatars/1.jpg",
                "avatars/123.jpg",
                "avatars/12",
                "avatars/12.d/x",
                "exports/12.csv2",
            ],
        )),
    ),
    (
        "Laravel: the key is the id",
        Layout::Whole(place(
            &[("ERASE_KEYS", "s3://data/avatars/{user_id}")],
            r#"{"userId": 1}"#,
            &["avatars/1"],
            &["avatars/12", "avatars/1.jpg", "avatars/1/x", "avatars/"],
        )),
    ),
    (
        "Laravel apps: three ends of the id",
        Layout::Whole(place(
            &[
                DIGITS,
                (
                    "ERASE_KEYS",
                    "s3://data/avatars/{user_id}.*,s3://data/avatars/{user_id}-*,s3://data/avatars/avatar_{user_id}_*",
                ),
            ],
            r#"{"userId": 12}"#,
            &["avatars/12.png", "avatars/12-ada.png", "avatars/avatar_12_1795427518.png"],
            &[
                "avatars/123.png",
                "avatars/1-12.png",
                "avatars/avatar_1_12.png",
                "avatars/avatar_12.png",
            ],
        )),
    ),
    (
        "profile-{userId}-{time}-{random}.ext",
        Layout::Whole(place(
            &[("USER_ID_LENGTH", "8"), ("ERASE_KEYS", "s3://data/profile-{user_id}-*")],
            r#"{"userId": "5f0c-1a9"}"#,
            &["profile-5f0c-1a9-1795427518-x7.jpg"],
            &["profile-5f0c-1a91-1795427518.jpg", "profile-5f0c-1a-9.jpg"],
        )),
    ),
    (
        "fieldname-random-{userId}.ext",
        Layout::None {
            setting: ("ERASE_KEYS", "s3://data/avatar-*-{user_id}.jpg"),
            error: "expected * only as the last character",
        },
    ),
    (
        "Rocket.Chat uploads/{room}/{userId}/",
        Layout::None {
            setting: ("ERASE_TARGETS", "s3://data/uniq/uploads/{rid}/{user_id}/"),
            error: "an unknown placeholder",
        },
    ),
    (
        "Rocket.Chat avatars/{userId}, uploads/userData/{userId}",
        Layout::Whole(place(
            &[(
                "ERASE_KEYS",
                "s3://data/uniq/avatars/{user_id},s3://data/uniq/uploads/userData/{user_id}",
            )],
            r#"{"userId": "rbAXPnMktTFbNpwtJ"}"#,
            &["uniq/avatars/rbAXPnMktTFbNpwtJ", "uniq/uploads/userData/rbAXPnMktTFbNpwtJ"],
            &["uniq/avatars/rbAXPnMktTFbNpwtJx", "uniq/uploads/room/rbAXPnMktTFbNpwtJ"],
        )),
    ),
    (
        "date before the user",
        Layout::None {
            setting: ("ERASE_TARGETS", "s3://data/photos/*/*/*/{user_id}/"),
            error: "S3 knows no wildcards",
        },
    ),
    (
        "HR app users/{cuid}/, projects/{p}/receipts/{cuid}/",
        Layout::Part(
            place(
                &[("ERASE_TARGETS", "s3://data/users/{user_id}/")],
                r#"{"userId": "ckv1"}"#,
                &["users/ckv1/a"],
                &["projects/p1/receipts/ckv1/a"],
            ),
            "the other folders have an unknown project before the user",
        ),
    ),
    (
        "Paperclip 000/001/234/",
        Layout::None {
            setting: ("ERASE_TARGETS", "s3://data/users/avatars/{user_id:partition}/original/"),
            error: "an unknown placeholder",
        },
    ),
    (
        "Mastodon accounts/avatars/109/382/…/original/",
        Layout::None {
            setting: ("ERASE_TARGETS", "s3://data/accounts/avatars/{user_id:partition}/original/"),
            error: "an unknown placeholder",
        },
    ),
    ("Rails ActiveStorage", Layout::NoUser("xtapjjcjiudrlk3tmwyjgpuobabd")),
    ("Nextcloud", Layout::NoUser("urn:oid:4711")),
    ("Synapse", Layout::NoUser("local_content/AB/CD/EFGHijkl")),
    ("Discourse", Layout::NoUser("original/1X/da39a3ee5e6b4b0d3255bfef95601890afd80709.png")),
    ("PeerTube", Layout::NoUser("hls/9c9de5e8-0a1e-484a-b099-e80766180a6d/a.m3u8")),
    ("Ghost", Layout::NoUser("content/images/2026/11/a.jpg")),
    ("Strapi", Layout::NoUser("uploads/a_5f7c8ec7c3.jpg")),
    ("Directus", Layout::NoUser("5f0c1a9e-2b57-4c0e-9a55-0d8a3c1f7e21.jpg")),
    ("Payload", Layout::NoUser("media/a.jpg")),
    ("Wagtail", Layout::NoUser("original_images/a.jpg")),
    ("spatie/laravel-medialibrary", Layout::NoUser("4711/a.jpg")),
    (
        "hash before the user",
        Layout::None {
            setting: ("ERASE_TARGETS", "s3://data/{user_id:md5}/{user_id}/"),
            error: "an unknown placeholder",
        },
    ),
];

/// Checks that the user owns the keys, and not those of neighbours.
fn try_place(name: &str, place: &Place<'_>) {
    let config = start(place.settings).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut body: Value = serde_json::from_str(place.user).expect("JSON");
    body["type"] = json!("user-withdrawn");
    let erasure = read(&config, &body).unwrap_or_else(|error| panic!("{name}: {error}"));
    for key in place.keys {
        assert!(is_owned(&config, &erasure, key), "{name}: {key} stays");
    }
    for key in place.neighbours {
        assert!(!is_owned(&config, &erasure, key), "{name}: {key} is somebody else's");
    }
    // The samples show every target of the settings.
    for prefix in prefixes(&config, &erasure) {
        let key = prefix.split_once('/').map_or("", |(_, key)| key);
        let is_shown = place.keys.iter().any(|sample| sample.starts_with(key));
        assert!(is_shown, "{name}: no sample of {prefix}");
    }
}

#[test]
fn layouts() {
    let (mut whole, mut part, mut none, mut no_user) = (0, 0, 0, 0);
    for (name, layout) in &LAYOUTS {
        match layout {
            Layout::Whole(place) => {
                try_place(name, place);
                whole += 1;
                println!("whole    {name}: {:?}", place.settings);
            }
            Layout::Part(place, reason) => {
                try_place(name, place);
                part += 1;
                println!("in part  {name}: {:?}; but {reason}", place.settings);
            }
            Layout::None { setting, error } => {
                let found = start(&[*setting]).expect_err(name);
                assert!(found.contains(setting.0) && found.contains(error), "{name}: {found}");
                none += 1;
                println!("none     {name}: {setting:?} is rejected: {error}");
            }
            Layout::NoUser(key) => {
                no_user += 1;
                println!("no user  {name}: {key}");
            }
        }
    }
    println!("layouts: {whole} whole, {part} in part, {none} not, {no_user} name no user");
    assert_eq!((whole, part, none, no_user), (16, 6, 6, 12));
}

#[derive(Debug)]
enum Ids<'a> {
    Taken(Settings<'a>, &'a [&'a str]),
    /// Accepted, except the ids in the second list.
    Mostly(Settings<'a>, &'a [&'a str], &'a [&'a str]),
    Rejected(Settings<'a>, &'a [&'a str], &'a str),
}

/// Each id is JSON, so that numbers are numbers.
const IDS: [(&str, Ids<'_>); 13] = [
    (
        "Cognito identity id, sub",
        Ids::Taken(
            &[],
            &[r#""eu-west-1:be14b9a2-6ab1-4f0e-9c42-7a1d2f3b4c5d""#, r#""b3a4c812-70d1-70f5""#],
        ),
    ),
    (
        "UUID, ULID, CUID, KSUID, ObjectId",
        Ids::Taken(
            &[],
            &[
                r#""5f0c1a9e-2b57-4c0e-9a55-0d8a3c1f7e21""#,
                r#""01ARZ3NDEKTSV4RRFFQ69G5FAV""#,
                r#""cjld2cjxh0000qzrmn831i7rn""#,
                r#""0ujtsYcgvSTl8PAuAdqWYSMnLOv""#,
                r#""507f1f77bcf86cd799439011""#,
            ],
        ),
    ),
    ("Clerk", Ids::Taken(&[], &[r#""user_2b8kQl5RmZ1xYw3cVn7PtHs9Df4""#])),
    (
        "Firebase, Okta, Stripe",
        Ids::Taken(
            &[],
            &[r#""zWcUMd0lqIR3dCtk8cWYBSzLJGq2""#, r#""00ub0oNGTSWTBKOLGLNR""#, r#""cus_RBx7k""#],
        ),
    ),
    ("Privy", Ids::Taken(&[], &[r#""did:privy:cm3np4u9j001rc8b73seqmqqk""#])),
    ("GOV.UK One Login", Ids::Taken(&[], &[r#""urn:fdc:gov.uk:2022:56P4CMsGh_02YOlWpd8PAOI""#])),
    ("wallet address", Ids::Taken(&[], &[r#""0x52908400098527886E0F7030069857D2E4169EE7""#])),
    ("integer", Ids::Taken(&[], &["0", "12", "191167", "9007199254740991"])),
    (
        "Auth0, Convex: |",
        Ids::Taken(
            &[("USER_ID_EXTRA_CHARACTERS", "|")],
            &[
                r#""auth0|5f7c8ec7c33c6c004bbafe82""#,
                r#""google-oauth2|108204368271046815720""#,
                r#""user|session""#,
            ],
        ),
    ),
    ("e-mail", Ids::Taken(&[], &[r#""ada@example.org""#, r#""ada+news@example.org""#])),
    (
        "e-mail with other characters of RFC 5321",
        Ids::Mostly(
            &[("USER_ID_EXTRA_CHARACTERS", "'!#$&*?^`~|")],
            &[r#""o'brien@example.org""#, r#""a!b#c$d&e*f?g^h`i~j|k@example.org""#],
            &[
                r#""a%b@example.org""#,
                r#""a{b@example.org""#,
                r#""a}b@example.org""#,
                r#""a/b@example.org""#,
            ],
        ),
    ),
    (
        "user name with spaces or non-ASCII characters",
        Ids::Rejected(&[], &[r#""ada lovelace""#, r#""jos\u00e9""#], "a character at byte"),
    ),
    (
        "Base64 with /, gid://shopify/Customer/1",
        Ids::Rejected(&[], &[r#""ab/c=""#, r#""gid://shopify/Customer/1""#], "a character at byte"),
    ),
];

#[test]
fn ids() {
    let message = |id: &str| {
        let id: Value = serde_json::from_str(id).expect("JSON");
        json!({"type": "user-withdrawn", "userId": id})
    };
    let (mut taken, mut rejected) = (0, 0);
    for (name, row) in &IDS {
        let (settings, good, bad, reason) = match row {
            Ids::Taken(settings, good) => (settings, *good, &[][..], ""),
            Ids::Mostly(settings, good, bad) => (settings, *good, *bad, "a character at byte"),
            Ids::Rejected(settings, bad, reason) => (settings, &[][..], *bad, *reason),
        };
        // The keys may have the id as it is, or percent-encoded.
        for target in ["s3://data/{user_id}/", "s3://data/{user_id:urlencode}/"] {
            let settings = [settings, &[("ERASE_TARGETS", target)][..]].concat();
            let config = start(&settings).unwrap_or_else(|error| panic!("{name}: {error}"));
            for id in good {
                let erasure =
                    read(&config, &message(id)).unwrap_or_else(|error| panic!("{name}: {error}"));
                let id = id.trim_matches('"');
                assert_eq!(erasure.user.full_name(), id, "{name}");
                let key = format!("{id}/a.jpg");
                assert!(is_owned(&config, &erasure, &key) || target.contains("url"), "{key}");
            }
            for id in bad {
                let error = read(&config, &message(id)).expect_err(id);
                assert!(error.contains(reason), "{name}: {error}");
            }
        }
        println!("{} {name}: {settings:?}", if good.is_empty() { "rejected" } else { "taken   " });
        if good.is_empty() { rejected += 1 } else { taken += 1 }
    }
    println!("ids: {taken} taken, one of them without / % {{ }}; {rejected} rejected");
    assert_eq!((taken, rejected), (11, 2));
    // Bad neighbours of the integers: other spellings, and what JavaScript has rounded.
    let config = start(&[PLAIN]).expect("right settings");
    for id in ["-1", "1.0", "1e3", "9007199254740992", "null", "[1]"] {
        assert!(read(&config, &message(id)).is_err(), "{id}");
    }
}

/// What a recipe of `examples/events` must come to.
struct Recipe<'a> {
    folder: &'a str,
    user: &'a str,
    request: &'a str,
    erase_before: &'a str,
    prefixes: &'a [&'a str],
    /// Changes of the event after which it is no valid request: where, the value, and the reason.
    rejected: &'a [(&'a str, &'a str, &'a str)],
    /// Changes after which the pattern or filter keeps the event out of the queue.
    filtered: &'a [(&'a str, &'a str)],
}

const NO_MATCH: &str = "does not have all values of MESSAGE_MATCH";

const RECIPES: [Recipe<'_>; 13] = [
    Recipe {
        folder: "auth0-log-stream",
        user: "auth0|5f7c8ec7c33c6c004bbafe82",
        request: "90020261123095158123456789012345678901234567890123456789",
        erase_before: "2026-11-23T09:51:58Z",
        prefixes: &["example-uploads/users/auth0%7C5f7c8ec7c33c6c004bbafe82/"],
        rejected: &[
            // The administrator who deleted the user.
            ("/detail/data/type", r#""sapi""#, NO_MATCH),
            ("/detail/data/user_id", "null", "/detail/data/user_id"),
        ],
        filtered: &[("/detail/data/type", r#""sapi""#), ("/detail-type", r#""Other""#)],
    },
    Recipe {
        folder: "auth0-event-stream",
        user: "google-oauth2|108204368271046815720",
        request: "evt_4Zk2Yq8sVb1nXc7D",
        erase_before: "2026-11-23T09:51:57.301Z",
        prefixes: &["example-uploads/users/google-oauth2|108204368271046815720/"],
        rejected: &[("/detail/type", r#""user.updated""#, NO_MATCH)],
        filtered: &[("/detail/type", r#""user.updated""#)],
    },
    Recipe {
        folder: "clerk",
        user: "user_2b8kQl5RmZ1xYw3cVn7PtHs9Df4",
        request: "msg_2pT8kQ5wVn3LrYb7",
        erase_before: "",
        prefixes: &["example-uploads/uploads/user_2b8kQl5RmZ1xYw3cVn7PtHs9Df4/"],
        rejected: &[
            ("/event/type", r#""user.created""#, NO_MATCH),
            ("/event/data/id", r#""org_2b8kQl5RmZ1xYw3cVn7PtHs9Df4""#, "USER_ID_PATTERN"),
            ("/id", "null", "\"/id\""),
        ],
        filtered: &[],
    },
    Recipe {
        folder: "privy",
        user: "did:privy:cm3np4u9j001rc8b73seqmqqk",
        request: "msg_2qU9mR6xWp4MsZc8",
        erase_before: "",
        prefixes: &["example-uploads/did:privy:cm3np4u9j001rc8b73seqmqqk/"],
        rejected: &[("/event/type", r#""user.transferred_account""#, NO_MATCH)],
        filtered: &[],
    },
    Recipe {
        folder: "shopify",
        user: "tenant_id=954889/191167",
        request: "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
        erase_before: "",
        prefixes: &["example-app/shops/954889/customers/191167/"],
        rejected: &[
            ("/topic", r#""customers/data_request""#, NO_MATCH),
            // Only an e-mail address.
            ("/event/customer", r#"{"email": "ada@example.org"}"#, "/event/customer/id"),
            ("/event/shop_id", "null", "/event/shop_id"),
        ],
        filtered: &[],
    },
    Recipe {
        folder: "cognito-identity",
        user: "eu-central-1:be14b9a2-6ab1-4f0e-9c42-7a1d2f3b4c5d",
        request: "5f0c1a9e-2b57-4c0e-9a55-0d8a3c1f7e21",
        erase_before: "",
        prefixes: &[
            "example-storage/private/eu-central-1:be14b9a2-6ab1-4f0e-9c42-7a1d2f3b4c5d/",
            "example-storage/protected/eu-central-1:be14b9a2-6ab1-4f0e-9c42-7a1d2f3b4c5d/",
        ],
        // The sub of the user pool.
        rejected: &[("/userId", r#""be14b9a2-6ab1-4f0e-9c42-7a1d2f3b4c5d""#, "USER_ID_PATTERN")],
        filtered: &[],
    },
    Recipe {
        folder: "cognito-sub",
        user: "b3a4c812-70d1-70f5-3f6a-1f0c8a5e2d47",
        request: "a7d4b1f0-9d0c-4c7e-8f62-3c5b1a2d4e6f",
        erase_before: "2026-11-23T09:51:54Z",
        prefixes: &["example-uploads/users/b3a4c812-70d1-70f5-3f6a-1f0c8a5e2d47/"],
        rejected: &[
            ("/detail/eventName", r#""AdminDisableUser""#, NO_MATCH),
            ("/detail/requestParameters/userPoolId", r#""eu-central-1_other""#, NO_MATCH),
        ],
        filtered: &[
            // A call that was denied.
            ("/detail/errorCode", r#""AccessDenied""#),
            ("/detail/requestParameters/userPoolId", r#""eu-central-1_other""#),
        ],
    },
    Recipe {
        folder: "stripe",
        user: "u-123",
        request: "evt_1QLr4sExampleExample",
        erase_before: "2026-11-23T09:51:58Z",
        prefixes: &["example-uploads/users/u-123/"],
        rejected: &[
            ("/detail/data/object/metadata", "{}", "/detail/data/object/metadata/user_id"),
            ("/detail-type", r#""customer.updated""#, NO_MATCH),
        ],
        filtered: &[("/detail/livemode", "false"), ("/detail-type", r#""customer.updated""#)],
    },
    Recipe {
        folder: "okta",
        user: "00ub0oNGTSWTBKOLGLNR",
        request: "dc9fd3c0-598c-11ef-8478-2b7584bf8d5a",
        erase_before: "2026-11-23T09:51:57.301Z",
        prefixes: &["example-uploads/users/00ub0oNGTSWTBKOLGLNR/"],
        rejected: &[
            (
                "/detail/target",
                r#"[{"type": "User", "id": "00u1"}, {"type": "User", "id": "00u2"}]"#,
                "selects 2 values",
            ),
            ("/detail/target", "[]", "selects 0 values"),
            ("/detail/outcome/result", r#""FAILURE""#, NO_MATCH),
        ],
        filtered: &[
            ("/detail/eventType", r#""user.lifecycle.deactivate""#),
            ("/detail/outcome/result", r#""FAILURE""#),
        ],
    },
    Recipe {
        folder: "opendsr",
        user: "u-123",
        request: "a7551968-d5d6-44b2-9831-815ac9017798",
        erase_before: "",
        prefixes: &["example-uploads/users/u-123/"],
        rejected: &[
            ("/subject_request_type", r#""access""#, NO_MATCH),
            (
                "/subject_identities",
                r#"[{"identity_type": "email", "identity_value": "ada@example.org", "identity_format": "raw"}]"#,
                "selects 0 values",
            ),
            ("/subject_identities/1/identity_format", r#""sha256""#, "selects 0 values"),
        ],
        filtered: &[],
    },
    Recipe {
        folder: "dynamodb-pipe",
        user: "u-123",
        request: "c4ca4238a0b923820dcc509a6f75849b",
        erase_before: "",
        prefixes: &["example-uploads/users/u-123/"],
        rejected: &[("/userId", r#""USER#u-123""#, "a character at byte 4")],
        filtered: &[("/eventName", r#""MODIFY""#)],
    },
    Recipe {
        folder: "debezium-pipe",
        user: "4711",
        request: "users-0-1093",
        erase_before: "",
        prefixes: &["example-uploads/users/4711/"],
        rejected: &[("/userId", "9007199254740993", "JavaScript rounds")],
        filtered: &[
            ("/value/op", r#""u""#),
            ("/value/source/table", r#""orders""#),
            // The tombstone.
            ("/value", "null"),
        ],
    },
    Recipe {
        folder: "topic-without-type",
        user: "urn:fdc:example.org:2022:56P4CMsGh_02YOlWpd8PAOI",
        request: "message-1",
        erase_before: "",
        prefixes: &["example-uploads/users/urn:fdc:example.org:2022:56P4CMsGh_02YOlWpd8PAOI/"],
        rejected: &[
            ("/TopicArn", r#""arn:aws:sns:eu-west-2:123456789012:other""#, NO_MATCH),
            ("/Message", r#""{\"email\": \"ada@example.org\"}""#, "\"/user_id\""),
        ],
        filtered: &[],
    },
];

fn events() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/events")
}

fn text(folder: &str, file: &str) -> Option<String> {
    fs::read_to_string(events().join(folder).join(file)).ok()
}

fn json_of(folder: &str, file: &str) -> Option<Value> {
    let parse = |text: String| {
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{folder}/{file}: {error}"))
    };
    text(folder, file).map(parse)
}

fn settings_of(folder: &str) -> BTreeMap<String, String> {
    let text = text(folder, "settings.env").expect("settings.env");
    let pairs = text.lines().map(|line| line.split_once('=').expect("NAME=VALUE"));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn config_of(folder: &str) -> Config {
    let settings = settings_of(folder);
    let all: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    start(&all).unwrap_or_else(|error| panic!("{folder}: {error}"))
}

/// The event with another value at this place.
fn changed(event: &Value, pointer: &str, value: &str) -> Value {
    let mut event = event.clone();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = event.pointer_mut(parent).expect("a place in the event");
    let value = serde_json::from_str(value).expect("JSON");
    match name.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_no_index) => parent[name] = value,
    }
    event
}

/// Whether an event pattern lets an event in: as far as the recipes' patterns go.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>
fn lets_in(pattern: &Value, event: Option<&Value>) -> bool {
    match pattern {
        Value::Object(fields) => {
            fields.iter().all(|(name, inner)| lets_in(inner, event.and_then(|it| it.get(name))))
        }
        Value::Array(values) if *values == [json!({"exists": false})] => event.is_none(),
        Value::Array(values) => {
            assert!(!values.iter().any(Value::is_object), "an operator that this test lacks");
            event.is_some_and(|event| values.contains(event))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            panic!("{pattern} is neither an object nor a list")
        }
    }
}

/// What an input template of `EventBridge` Pipes makes of a record.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-input-transformation.html>
fn fill(template: &str, record: &Value) -> Value {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("<$") {
        let (path, behind) = after.split_once('>').expect("the end of a path");
        let value = record.pointer(&path.replace('.', "/")).expect("a value at the path");
        filled.push_str(before);
        let is_in_string = filled.matches('"').count() % 2 == 1;
        match value.as_str().filter(|_| is_in_string) {
            Some(text) => filled.push_str(text),
            None => filled.push_str(&value.to_string()),
        }
        rest = behind;
    }
    filled.push_str(rest);
    serde_json::from_str(&filled).expect("JSON")
}

/// The settings that the template makes of these parameters.
fn settings_of_parameters(parameters: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    const ABOUT_THE_WAY: [&str; 4] =
        ["EventBusName", "EventPattern", "SenderPrincipalArns", "WithdrawalTopicArn"];
    let (mut settings, mut targets) = (BTreeMap::new(), Vec::new());
    for (name, value) in parameters {
        if let Some(target) = name.strip_suffix("Bucket") {
            targets.push(format!("s3://{value}/{}", parameters[&format!("{target}Prefix")]));
        } else if !name.ends_with("Prefix") && !ABOUT_THE_WAY.contains(&name.as_str()) {
            let gap = |c: char| c.is_uppercase().then_some('_');
            let upper =
                name.chars().flat_map(|c| gap(c).into_iter().chain([c.to_ascii_uppercase()]));
            settings.insert(upper.skip(1).collect(), value.clone());
        }
    }
    settings.insert("ERASE_TARGETS".to_owned(), targets.join(","));
    settings
}

/// Checks that the template takes this value of a parameter.
fn check_parameter(name: &str, value: &str) {
    let template = fs::read_to_string(format!("{}/template.yaml", env!("CARGO_MANIFEST_DIR")));
    let template = template.expect("template.yaml");
    let start = format!("\n  {name}:\n    Type: String\n");
    let (_, section) = template.split_once(&start).unwrap_or_else(|| panic!("no {name}"));
    let lines = section.lines().take_while(|line| line.starts_with("    "));
    for (rule, text) in lines.filter_map(|line| line.trim().split_once(": ")) {
        match rule {
            "AllowedPattern" => {
                let pattern = text.trim_matches('\'').replace("''", "'");
                let pattern = Regex::new(&format!("^(?:{pattern})$")).expect("a pattern");
                assert!(pattern.is_match(value), "{name} = {value}: {pattern}");
            }
            "MaxLength" => {
                let most: usize = text.parse().expect("a number");
                assert!(value.len() <= most, "{name} = {value}: {} bytes", value.len());
            }
            _ => {}
        }
    }
}

fn try_recipe(recipe: &Recipe<'_>) {
    let folder = recipe.folder;
    let config = config_of(folder);
    let event = json_of(folder, "event.json").expect("event.json");
    let erasure = read(&config, &event).unwrap_or_else(|error| panic!("{folder}: {error}"));
    assert_eq!(erasure.user.full_name(), recipe.user, "{folder}");
    assert_eq!(erasure.id.as_str(), recipe.request, "{folder}");
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).expect("a time");
    let erase_before = (!recipe.erase_before.is_empty()).then(|| time(recipe.erase_before));
    assert_eq!(erasure.erase_before, erase_before, "{folder}");
    assert_eq!(prefixes(&config, &erasure), recipe.prefixes, "{folder}");
    for (pointer, value, reason) in recipe.rejected {
        let error = read(&config, &changed(&event, pointer, value)).expect_err(folder);
        assert!(error.contains(reason), "{folder}: {pointer} = {value}: {error}");
    }

    let parameters = json_of(folder, "parameters.json").expect("parameters.json");
    let parameters: BTreeMap<String, String> =
        serde_json::from_value(parameters["Parameters"].clone()).expect("texts");
    assert_eq!(settings_of_parameters(&parameters), settings_of(folder), "{folder}");
    for (name, value) in &parameters {
        check_parameter(name, value);
    }

    let record = json_of(folder, "record.json");
    if let Some(record) = &record {
        let template = text(folder, "template.txt").expect("template.txt");
        assert_eq!(fill(&template, record), event, "{folder}");
    }
    let pattern = json_of(folder, "pattern.json");
    let of_parameters = parameters.get("EventPattern").map(|text| serde_json::from_str(text));
    assert_eq!(of_parameters.transpose().expect("JSON"), pattern, "{folder}");
    let pattern = pattern.or_else(|| json_of(folder, "filter.json"));
    assert_eq!(pattern.is_some(), !recipe.filtered.is_empty(), "{folder}");
    if let Some(pattern) = pattern {
        let event = record.as_ref().unwrap_or(&event);
        assert!(lets_in(&pattern, Some(event)), "{folder}: the pattern keeps the event out");
        for (pointer, value) in recipe.filtered {
            let other = changed(event, pointer, value);
            assert!(!lets_in(&pattern, Some(&other)), "{folder}: {pointer} = {value} comes in");
        }
    }
    assert!(text(folder, "README.md").is_some_and(|text| text.lines().count() > 5), "{folder}");
}

#[test]
fn recipes() {
    RECIPES.iter().for_each(try_recipe);
    let folders = fs::read_dir(events()).expect("examples/events").map(|it| it.expect("a file"));
    let has_event = |folder: &PathBuf| folder.join("event.json").exists();
    let folders = folders.map(|it| it.path()).filter(has_event);
    let names = folders.filter_map(|it| Some(it.file_name()?.to_str()?.to_owned()));
    let tried = RECIPES.map(|recipe| recipe.folder.to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), BTreeSet::from(tried), "each recipe is tried");
    let readme = text("", "README.md").expect("README.md");
    assert!(RECIPES.iter().all(|it| readme.contains(&format!("{}/README.md", it.folder))));
}

/// How a form of request is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As it comes in through SQS, SNS, `EventBridge` or a pipe of it.
    Taken,
    /// It comes by HTTPS: after a check of its signature or its sender, in front of the queue.
    Checked,
    Rejected,
}

#[derive(Debug)]
enum Try<'a> {
    /// A recipe of `examples/events`.
    Recipe(&'a str),
    /// With these settings, the body asks for the erasure of this user under this request id.
    Body(Settings<'a>, &'a str, &'a str, &'a str),
    /// Under whatever settings are tried, the body is rejected for this reason.
    Rejected(Settings<'a>, &'a str, &'a str),
}

const REQUESTS: [(&str, Way, &[Try<'_>]); 22] = [
    (
        "written for this function",
        Way::Taken,
        &[
            Try::Body(
                &[PLAIN],
                r#"{"type": "user-withdrawn", "userId": "u1", "requestId": "r1"}"#,
                "u1",
                "r1",
            ),
            Try::Body(
                &[PLAIN],
                r#"{"detail-type": "user-withdrawn", "detail": {"userId": "u1", "requestId": "r1"}}"#,
                "u1",
                "r1",
            ),
        ],
    ),
    ("GOV.UK One Login", Way::Taken, &[Try::Recipe("topic-without-type")]),
    (
        "The Guardian",
        Way::Taken,
        &[Try::Body(
            &[PLAIN, ("MESSAGE_MATCH", "/eventType=DELETE")],
            r#"{"Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:1:deleted", "Message": "{\"userId\":\"200126633\",\"eventType\":\"DELETE\"}"}"#,
            "200126633",
            "message-1",
        )],
    ),
    (
        "Pocket",
        Way::Taken,
        &[Try::Body(
            &[
                PLAIN,
                ("MESSAGE_MATCH", "/detail-type=account-deletion"),
                ("USER_ID_POINTER", "/detail/userId"),
                ("REQUEST_ID_POINTER", "/id"),
            ],
            r#"{"Type": "Notification", "TopicArn": "arn:aws:sns:us-east-1:1:users", "Message": "{\"id\": \"e1\", \"detail-type\": \"account-deletion\", \"detail\": {\"userId\": \"1\", \"email\": \"ada@example.org\", \"apiId\": \"5511\"}}"}"#,
            "1",
            "e1",
        )],
    ),
    (
        "in-house events",
        Way::Taken,
        &[
            Try::Body(
                &[
                    PLAIN,
                    ("MESSAGE_MATCH", "/eventType=USER_DELETED"),
                    ("USER_ID_POINTER", "/data/userId"),
                ],
                r#"{"eventType": "USER_DELETED", "data": {"userId": "u1"}}"#,
                "u1",
                "message-1",
            ),
            Try::Body(
                &[
                    PLAIN,
                    ("MESSAGE_MATCH", "/type=UserDeletedEvent"),
                    ("USER_ID_POINTER", "/data/id"),
                ],
                r#"{"type": "UserDeletedEvent", "data": {"id": 17}}"#,
                "17",
                "message-1",
            ),
            Try::Body(
                &[PLAIN, ("MESSAGE_MATCH", "/event=user_delete"), ("USER_ID_POINTER", "/user_id")],
                r#"{"user_id": "u1", "event": "user_delete"}"#,
                "u1",
                "message-1",
            ),
            Try::Body(
                &[
                    ("SCOPE_IDS", "tenant_id=/instanceId"),
                    ("ERASE_TARGETS", "s3://data/{tenant_id}/{user_id}/"),
                    ("MESSAGE_MATCH", "TopicArn=arn:aws:sns:eu-west-1:123456789012:deleted"),
                ],
                r#"{"Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:deleted", "Message": "{\"userId\": \"u1\", \"instanceId\": \"a\"}"}"#,
                "tenant_id=a/u1",
                "message-1",
            ),
        ],
    ),
    ("Auth0 log stream", Way::Taken, &[Try::Recipe("auth0-log-stream")]),
    ("Auth0 event stream", Way::Taken, &[Try::Recipe("auth0-event-stream")]),
    ("Okta log stream", Way::Taken, &[Try::Recipe("okta")]),
    ("Stripe customer.deleted", Way::Taken, &[Try::Recipe("stripe")]),
    (
        "Cognito by CloudTrail",
        Way::Taken,
        &[Try::Recipe("cognito-sub"), Try::Recipe("cognito-identity")],
    ),
    (
        "Kafka, DynamoDB Streams by Pipes",
        Way::Taken,
        &[
            Try::Recipe("dynamodb-pipe"),
            Try::Recipe("debezium-pipe"),
            // The record itself, without an input template.
            Try::Body(
                &[
                    PLAIN,
                    ("MESSAGE_MATCH", "/eventName=REMOVE"),
                    ("USER_ID_POINTER", "/dynamodb/Keys/userId/S"),
                    ("REQUEST_ID_POINTER", "/eventID"),
                ],
                r#"{"eventID": "c4ca4238", "eventName": "REMOVE", "dynamodb": {"Keys": {"userId": {"S": "u-123"}}}}"#,
                "u-123",
                "c4ca4238",
            ),
        ],
    ),
    (
        "Shopify by EventBridge, other topics",
        Way::Taken,
        &[Try::Body(
            &[
                PLAIN,
                ("MESSAGE_MATCH", "/detail/metadata/X-Shopify-Topic=customers/delete"),
                ("USER_ID_POINTER", "/detail/payload/id"),
                ("REQUEST_ID_POINTER", "/id"),
            ],
            r#"{"id": "e1", "detail-type": "shopifyWebhook", "detail": {"payload": {"id": 191167}, "metadata": {"X-Shopify-Topic": "customers/delete", "X-Shopify-Shop-Domain": "example.myshopify.com"}}}"#,
            "191167",
            "e1",
        )],
    ),
    ("Shopify customers/redact", Way::Checked, &[Try::Recipe("shopify")]),
    ("Clerk user.deleted", Way::Checked, &[Try::Recipe("clerk")]),
    (
        "Privy, Stack Auth, Prelude, FusionAuth",
        Way::Checked,
        &[
            Try::Recipe("privy"),
            Try::Body(
                &[
                    PLAIN,
                    ("MESSAGE_MATCH", "/event/type=user.deleted"),
                    ("USER_ID_POINTER", "/event/data/id"),
                ],
                r#"{"id": "msg_1", "topic": "", "event": {"type": "user.deleted", "data": {"id": "u1"}}}"#,
                "u1",
                "message-1",
            ),
            // FusionAuth. The envelope of Prelude's payload is not known to us.
            Try::Body(
                &[
                    PLAIN,
                    ("MESSAGE_MATCH", "/event/type=user.delete.complete"),
                    ("USER_ID_POINTER", "/event/user/id"),
                    ("REQUEST_ID_POINTER", "/event/id"),
                ],
                r#"{"event": {"type": "user.delete.complete", "id": "e1", "user": {"id": "u1"}}}"#,
                "u1",
                "e1",
            ),
        ],
    ),
    (
        "Keycloak admin event",
        Way::Rejected,
        &[Try::Rejected(
            &[
                PLAIN,
                ("MESSAGE_MATCH", "/resourceType=USER,/operationType=DELETE"),
                ("USER_ID_POINTER", "/resourcePath"),
            ],
            r#"{"resourceType": "USER", "operationType": "DELETE", "resourcePath": "users/5f0c1a9e"}"#,
            "a character at byte 5",
        )],
    ),
    (
        "Supabase database webhook",
        Way::Checked,
        &[Try::Body(
            &[
                PLAIN,
                ("MESSAGE_MATCH", "/type=DELETE,/table=users"),
                ("USER_ID_POINTER", "/old_record/id"),
            ],
            r#"{"type": "DELETE", "table": "users", "schema": "auth", "record": null, "old_record": {"id": "u1"}}"#,
            "u1",
            "message-1",
        )],
    ),
    ("OpenDSR", Way::Checked, &[Try::Recipe("opendsr")]),
    (
        "Ketch",
        Way::Checked,
        &[Try::Body(
            &[
                PLAIN,
                ("MESSAGE_MATCH", "/kind=DeleteRequest"),
                (
                    "USER_ID_POINTER",
                    "$.request.identities[?@.identitySpace=='account_id'].identityValue",
                ),
                ("REQUEST_ID_POINTER", "/metadata/uid"),
            ],
            r#"{"apiVersion": "dsr/v1", "kind": "DeleteRequest", "metadata": {"uid": "22880925", "tenant": "example"}, "request": {"identities": [{"identitySpace": "email", "identityValue": "ada@example.org"}, {"identitySpace": "account_id", "identityValue": "u1"}], "dueTimestamp": 123}}"#,
            "u1",
            "22880925",
        )],
    ),
    (
        "Transcend",
        Way::Checked,
        &[Try::Body(
            &[
                PLAIN,
                ("MESSAGE_MATCH", "/event=dsr-job,/payload/request/type=ERASURE"),
                ("USER_ID_POINTER", "/payload/request/coreIdentifier/value"),
                ("REQUEST_ID_POINTER", "/payload/request/id"),
            ],
            r#"{"event": "dsr-job", "payload": {"request": {"id": "r1", "type": "ERASURE", "coreIdentifier": {"name": "userId", "value": "u1"}}}}"#,
            "u1",
            "r1",
        )],
    ),
    (
        "Segment function onDelete",
        Way::Checked,
        &[Try::Body(
            &[PLAIN, ("MESSAGE_MATCH", "/type=delete")],
            r#"{"type": "delete", "userId": "u1", "messageId": "m1"}"#,
            "u1",
            "message-1",
        )],
    ),
    (
        "Amplitude, Braze: many users",
        Way::Rejected,
        &[
            Try::Rejected(
                &[PLAIN, ("MESSAGE_MATCH", "/requester=gdpr"), ("USER_ID_POINTER", "/user_ids")],
                r#"{"requester": "gdpr", "user_ids": ["u1", "u2"]}"#,
                "is an array: send one message for each user",
            ),
            Try::Rejected(
                &[
                    PLAIN,
                    ("MESSAGE_MATCH", "/kind=delete"),
                    ("USER_ID_POINTER", "$.external_ids[*]"),
                ],
                r#"{"kind": "delete", "external_ids": ["u1", "u2"]}"#,
                "selects 2 values",
            ),
        ],
    ),
];

#[test]
fn requests() {
    let mut counts = [0; 3];
    for (name, way, tries) in &REQUESTS {
        for one in *tries {
            match one {
                Try::Recipe(folder) => {
                    assert!(RECIPES.iter().any(|recipe| recipe.folder == *folder), "{folder}");
                    let event = json_of(folder, "event.json").expect("event.json");
                    assert!(read(&config_of(folder), &event).is_ok(), "{name}: {folder}");
                }
                Try::Body(settings, body, user, request) => {
                    let config = start(settings).unwrap_or_else(|e| panic!("{name}: {e}"));
                    let body = serde_json::from_str(body).expect("JSON");
                    let erasure = read(&config, &body).unwrap_or_else(|e| panic!("{name}: {e}"));
                    assert_eq!(erasure.user.full_name(), *user, "{name}");
                    assert_eq!(erasure.id.as_str(), *request, "{name}");
                }
                Try::Rejected(settings, body, reason) => {
                    let config = start(settings).unwrap_or_else(|e| panic!("{name}: {e}"));
                    let error = read(&config, &serde_json::from_str(body).expect("JSON"));
                    let error = error.expect_err(name);
                    assert!(error.contains(reason), "{name}: {error}");
                }
            }
            let is_rejected = matches!(one, Try::Rejected(..));
            assert_eq!(is_rejected, *way == Way::Rejected, "{name}");
        }
        let (index, word) = match way {
            Way::Taken => (0, "taken   "),
            Way::Checked => (1, "checked "),
            Way::Rejected => (2, "rejected"),
        };
        counts[index] += 1;
        println!("{word} {name}");
    }
    let [taken, checked, rejected] = counts;
    println!(
        "requests: {taken} taken, {checked} behind a check of the sender, {rejected} rejected"
    );
    assert_eq!(counts, [12, 8, 2]);
}

/// Where the files are. Regions and several owners depend on the adapter, so that this table
/// states them, and other tests hold them.
const PLACES: [(&str, bool, &str); 6] = [
    ("several buckets of one region and account", true, "ERASE_TARGETS; tests/handler"),
    ("buckets in several regions", true, "learned from S3's answers; tests/adapters"),
    ("buckets of several accounts", true, "EXPECTED_BUCKET_OWNER=BUCKET=ACCOUNT; tests/adapters"),
    ("access points", false, "s3://photos-abcdefgh-s3alias/{user_id}/"),
    ("S3 Express (directory buckets)", false, "s3://photos--use1-az4--x-s3/{user_id}/"),
    ("R2, MinIO, Ceph, B2", false, ""),
];

#[test]
fn places() {
    for (name, is_taken, how) in PLACES {
        println!("{} {name}: {how}", if is_taken { "taken   " } else { "rejected" });
        if !is_taken && !how.is_empty() {
            let error = start(&[("ERASE_TARGETS", how)]).expect_err(name);
            assert!(error.contains("not supported"), "{error}");
        }
    }
    let taken = PLACES.iter().filter(|(_, is_taken, _)| *is_taken).count();
    println!("places: {taken} of {}", PLACES.len());
    let several = "s3://photos/{user_id}/,s3://exports/users/{user_id}/";
    let owners = ("EXPECTED_BUCKET_OWNER", "photos=111122223333,exports=444455556666");
    for settings in [&[("ERASE_TARGETS", several)][..], &[("ERASE_TARGETS", several), owners]] {
        assert_eq!(start(settings).map(|it| it.targets.as_slice().len()), Ok(2));
    }
}
