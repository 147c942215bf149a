//! Removes everything that could be a key, a prefix or a user id from S3's error messages.

use std::collections::HashSet;

/// The longest redacted message, in characters.
const MAX_SENTENCE: usize = 200;

/// The words of IAM's explanations. After a removed word, only these words are kept: a key may have
/// spaces, so that the following words may be part of it.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>
const EXPLANATION: [&str; 24] = [
    "a",
    "access",
    "action",
    "allows",
    "an",
    "because",
    "boundary",
    "control",
    "deny",
    "endpoint",
    "explicit",
    "grants",
    "identity-based",
    "in",
    "no",
    "permissions",
    "point",
    "policy",
    "resource-based",
    "service",
    "session",
    "the",
    "VPC",
    "with",
];

/// Replaces each run of words that may contain a part of `secret` by `…`. `secret` is the request's
/// prefix and all of its known keys. Returns `None` if nothing useful remains.
pub(super) fn scrub(message: &str, secret: &str) -> Option<String> {
    let secret = secret.to_lowercase();
    let secret: HashSet<&str> = pieces(&secret).collect();
    let mut kept: Vec<&str> = Vec::new();
    let mut is_behind_removed = false;
    // Only the beginning of a message is useful to the operator.
    for word in message.split_whitespace().take(MAX_SENTENCE) {
        let is_explanation = EXPLANATION.contains(&word.trim_end_matches(['.', ',']));
        let is_action = word.strip_prefix("s3:").or(word.strip_prefix("kms:"));
        let is_action =
            is_action.is_some_and(|action| action.bytes().all(|byte| byte.is_ascii_alphabetic()));
        let is_safe = match is_behind_removed {
            false => !may_hold(word, &secret),
            true => (is_explanation || is_action) && !may_hold(word, &secret),
        };
        if is_safe {
            kept.push(word);
        } else if kept.last() != Some(&"…") {
            kept.push("…");
            is_behind_removed = true;
        }
    }
    // An explanation without its beginning explains nothing.
    let text: String = kept.join(" ").chars().take(MAX_SENTENCE).collect();
    text.chars().any(|c| c.is_ascii_alphanumeric()).then_some(text)
}

/// Whether a word may be, contain or be part of a key, a prefix or an id. Pieces of any length are
/// compared as a whole, because an id may have one digit. Only longer pieces are searched for
/// within words, so that ordinary words are kept.
fn may_hold(word: &str, secret: &HashSet<&str>) -> bool {
    if word.len() > 64
        || !word.bytes().all(|byte| byte.is_ascii_graphic())
        || word.contains(['/', '\\', '%', '&'])
    {
        return true;
    }
    // The word begins or ends a quotation of several words, which may be a name with spaces.
    let is_half_quotation = word.matches('"').count() % 2 == 1;
    let is_file_name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).contains('.');
    let word = word.to_lowercase();
    let is_in = |piece: &str, secret: &str| {
        piece == secret
            || (piece.len() >= 4 && secret.contains(piece))
            || (secret.len() >= 3 && piece.contains(secret))
    };
    is_half_quotation
        || is_file_name
        || pieces(&word).any(|piece| secret.iter().any(|secret| is_in(piece, secret)))
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_s3_says_and_removes_what_could_be_the_users() {
        let arn = "User: arn:aws:sts::123456789012:assumed-role/erase/f is not authorized to perform: s3:DeleteObject on \
                   resource: \"arn:aws:s3:::photos/u-77/My secret holiday.jpg\" because no identity-based policy allows \
                   the s3:DeleteObject action";
        for (message, kept) in [
            (
                "Missing required header for this request: Content-MD5",
                "Missing required header for this request: Content-MD5",
            ),
            (
                "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
                "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
            ),
            ("Access Denied", "Access Denied"),
            (
                arn,
                "User: … s3:DeleteObject … because no identity-based policy allows the s3:DeleteObject action",
            ),
            ("u-77 was not found", "…"),
            ("users/u-77/secret.txt", "…"),
            ("The key u-77%2Fsecret is odd", "The key …"),
            ("key \"U-77\" because holiday", "key … because …"),
            ("Gr\u{fc}\u{df}e", "…"),
        ] {
            let scrubbed = scrub(message, "u-77/My secret holiday.jpg");
            let kept = (kept != "…").then(|| kept.to_owned());
            assert_eq!(scrubbed, kept, "{message}");
        }
        assert_eq!(
            scrub(&"word ".repeat(1_000), "u1/").map(|text| text.chars().count()),
            Some(MAX_SENTENCE)
        );
    }

    #[test]
    fn pieces_of_all_keys_and_names_of_files_are_removed_whatever_stands_around_them() {
        for (message, secret, kept) in [
            (
                "Object name \"passport-anna.pdf\" contains invalid characters",
                "u1/",
                "Object name …",
            ),
            (
                "Object name \"passport-anna\" contains invalid characters",
                "u1/\nu1/anna.pdf",
                "Object name …",
            ),
            ("Object name \"Anna Smith\" is invalid", "u1/", "Object name …"),
            (
                "Object starting with 'passp' is invalid",
                "u1/\nu1/passport",
                "Object starting with …",
            ),
            ("rejected for user=42 because", "42/", "rejected for … because"),
            ("rejected for {\"userId\":\"42\"} because", "42/", "rejected for … because"),
            ("rejected for id:u-7, because", "7/", "rejected for … because"),
            ("Key Dr No at my file", "u1/Dr No at my file.txt", "Key …"),
            (
                "Please reduce your request rate.",
                "u1/the key is not for us.jpg",
                "Please reduce your request rate.",
            ),
            (
                "Missing required header for this request",
                "u1/theory",
                "Missing required header for this request",
            ),
        ] {
            assert_eq!(scrub(message, secret).as_deref(), Some(kept), "{message}");
        }
    }

    #[test]
    fn a_short_id_is_removed_where_it_is_a_word_of_its_own() {
        assert_eq!(scrub("there is no 7 in 1970", "7/"), Some("there is no … in …".to_owned()));
        assert_eq!(scrub("it took 17 seconds", "7/"), Some("it took 17 seconds".to_owned()));
    }
}
