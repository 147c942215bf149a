//! What is stored before an erasure.

use local::{Ministack, read_objects};

use crate::{Failure, assert_same};

/// A key and what is stored there.
pub(crate) type Object = (String, Vec<u8>);

/// Whose files are erased in these tests.
pub(crate) const USER: &str = "u1";

/// What comes after `u1/` in keys that are easily missed, mangled or mistaken.
const ODD_NAMES: [&str; 86] = [
    // The folder marker itself, and others below it.
    "",
    "a folder/",
    "a folder/below/",
    "/",
    "//",
    "double//slash",
    "slashes///",
    // Path handling folds these away. The last ones would become a neighbour's key, or another of
    // this user.
    ".",
    "..",
    "./dot",
    "a/./b",
    "a/../b",
    "a/..",
    "../u10/keep.txt",
    "../other/u1/keep.txt",
    "../x",
    "%2e%2e/u10/keep.txt",
    // XML cannot carry these, so they go by single DeleteObject, where the key is in the URL's
    // path.
    "\0",
    "\u{1}",
    "\u{8}\u{b}\u{c}\u{e}",
    "bell\u{7}and escape\u{1b}",
    "\u{1f}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{1}/../x",
    "\u{1}/../../x",
    "\u{1}/../../u10/keep.txt",
    "\u{1}/../keep.txt",
    "\u{1f}/./y",
    "\u{1}//\u{1}/",
    "\u{1} +%2F?a=b#c",
    "\u{1}?versionId=null",
    // XML can contain these, but not every parser returns them.
    "carriage\rreturn",
    "line\nfeed",
    "both\r\n",
    "\r",
    "\n",
    "tab\ttab",
    "\t",
    "delete\u{7f}and next line\u{85}",
    "line separator\u{2028}",
    "replacement\u{fffd}",
    "\u{feff}byte order mark",
    "]]>",
    "<![CDATA[x]]>",
    "<!-- x -->",
    "&",
    "&amp;",
    "&#13;",
    "<",
    ">",
    "<Key>u10/keep.txt</Key>",
    "'single' and \"double\"",
    // URL-encoding, once too often or once too little.
    "+",
    "plus+plus",
    "%",
    "100%",
    "%2F",
    "%252F",
    "%0D",
    "%zz",
    "?",
    "?delete",
    "?versionId=null&x",
    "#fragment",
    ";parameter=1",
    "a=b&c=d",
    // Spaces.
    " ",
    "  ",
    " leading",
    "trailing ",
    "with space",
    "no-break\u{a0}space",
    // Characters with a special meaning in some system.
    "\\",
    "back\\slash",
    "*",
    "~",
    "|",
    "{user_id}",
    "$(id)`id`",
    "!@^,:[]",
    "null",
    // Letters: the same word composed and decomposed, outside the basic plane, right to left.
    "na\u{ef}ve",
    "nai\u{308}ve",
    "\u{1f600}\u{1f468}\u{200d}\u{1f469}",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
];

/// The keys that make a name of [`ODD_NAMES`] each, and three of the greatest length.
pub(crate) fn odd_keys(folder: &str) -> Vec<String> {
    let mut keys: Vec<String> = ODD_NAMES.iter().map(|name| format!("{folder}{name}")).collect();
    let rest = 1_024 - folder.len();
    keys.push(format!("{folder}{}", "x".repeat(rest)));
    keys.push(format!("{folder}{}{}", "\u{1f600}".repeat(rest / 4), "x".repeat(rest % 4)));
    keys.push(format!("{folder}{}", &"folders/".repeat(128)[..rest]));
    keys
}

/// Plain keys, more than one listing page from 1,001 on.
pub(crate) fn plain_keys(folder: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{folder}photos/{:02}/{number:05}.jpg", number % 7)).collect()
}

/// Keys of all users except `u1`. A careless prefix, decoding or path would delete each of them,
/// too.
pub(crate) fn neighbours() -> Vec<Object> {
    let folders = [
        "u10/",
        "u11/",
        "u1.bak/",
        "u1-old/",
        "u1+/",
        "u1 /",
        "u1%2F",
        " u1/",
        "u/",
        "U1/",
        "other/u1/",
        "/u1/",
    ];
    let below = folders.iter().flat_map(|folder| {
        ["keep.txt", "photos/00/00000.jpg"].map(|name| format!("{folder}{name}"))
    });
    let alone = ["u1", "u1.", "u10", "x", "y", "keep.txt", "b", "dot"];
    objects(below.chain(alone.map(str::to_owned)))
}

/// Gives each key a content of its own; folder markers have none.
pub(crate) fn objects(keys: impl IntoIterator<Item = String>) -> Vec<Object> {
    let content = |key: &str| {
        if key.ends_with('/') { String::new() } else { format!("what is in {key}") }
    };
    keys.into_iter().map(|key| (key.clone(), content(&key).into_bytes())).collect()
}

/// The bytes of all contents.
pub(crate) fn size(objects: &[Object]) -> u64 {
    objects.iter().map(|(_, body)| body.len() as u64).sum()
}

/// Puts so many plain keys of `u1` into a bucket, and the keys of the neighbours.
pub(crate) async fn put_user_and_neighbours(
    cloud: &Ministack,
    bucket: &str,
    count: usize,
) -> Result<(), Failure> {
    let all = objects(plain_keys("u1/", count)).into_iter().chain(neighbours());
    Ok(cloud.put_objects(bucket, all, || {}).await?)
}

/// Fails unless the bucket holds exactly these objects, byte for byte.
pub(crate) async fn assert_left(
    s3: &aws_sdk_s3::Client,
    bucket: &str,
    expected: &[Object],
) -> Result<(), Failure> {
    assert_same(
        &read_objects(s3, bucket, "").await?,
        expected,
        &format!("{bucket} does not hold what should be left"),
    );
    Ok(())
}
