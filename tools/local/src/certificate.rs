use serde_json::Value;

/// Styles of its own, no scripts, nothing from a network: the page is the same in ten years.
const HEAD: &str = r#"<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<style>
@page { size: A4; margin: 16mm }
body { font: 14px/1.45 system-ui, sans-serif; color: #1b1b1b; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 0 .3rem } h2 { font-size: 1.05rem; margin: 1.4rem 0 .3rem }
.outcome { border-left: .4rem solid #8a6d00; padding: .4rem .8rem; background: #f6f6f4 }
.erased, .swept { border-color: #1d7a3a } .incomplete { border-color: #b3261e }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #ddd }
thead th { font-weight: 600 } tbody th { font-weight: 400; color: #555; width: 13rem } td.n { text-align: right; font-variant-numeric: tabular-nums }
code { font: .88em ui-monospace, monospace; overflow-wrap: anywhere } footer { margin-top: 1.4rem; color: #555; font-size: .85em }
td.place { width: 34% }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 9.5pt } h2 { margin-top: 1rem } tr, li { break-inside: avoid } }
</style>
"#;

/// What a receipt counts: the field, and its name for people.
const COUNTS: [(&str, &str); 6] = [
    ("objects", "objects"),
    ("versions", "versions"),
    ("deleteMarkers", "delete markers"),
    ("uploads", "unfinished uploads"),
    ("bytes", "bytes"),
    ("keptNewer", "kept (newer)"),
];

/// A receipt as a page for people, to print or to file: `text` is the document as it is stored,
/// `key` its address, `digest` the SHA-256 of its bytes.
pub(crate) fn certificate(key: &str, text: &str, digest: &str) -> String {
    let receipt: Value = serde_json::from_str(text).unwrap_or_default();
    let outcome = receipt["outcome"].as_str().unwrap_or("unknown");
    let (title, statement) = statement(outcome, &receipt);
    let mut page = format!("<!doctype html>\n<html lang=\"en\">\n<head>\n{HEAD}");
    write_all(
        &mut page,
        &[
            &format!("<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n"),
            &format!(
                "<p class=\"outcome {}\">{}</p>\n",
                escape(outcome),
                escape(&statement).replace('\n', "<br>")
            ),
            "<h2>Request</h2>\n<table><tbody>\n",
        ],
    );
    for (name, field) in [
        ("user (keyed hash)", "user"),
        ("erasure", "erasureId"),
        ("user closed the account", "withdrawnAt"),
        ("requested", "requestedAt"),
        ("files before this time only", "eraseBefore"),
        ("started", "startedAt"),
        ("verified empty", "provenEmptyAt"),
        ("receipt written", "finishedAt"),
    ] {
        if let Some(value) = receipt[field].as_str() {
            page += &row(name, value);
        }
    }
    page += "</tbody></table>\n";
    page += &targets(&receipt, outcome);
    page += "<h2>Not covered</h2>\n<p>An erasure in Amazon S3 does not reach these; other processes have to cover them:</p>\n<ul>\n";
    for item in list(&receipt["notReached"]) {
        write_all(&mut page, &["<li>", &escape(item.as_str().unwrap_or_default()), "</li>\n"]);
    }
    write_all(
        &mut page,
        &[
            "</ul>\n<footer>\n<p>Counts are lower bounds: deletions of an interrupted invocation are not counted. ",
            "The user is named by HMAC-SHA256 of the user id with the key of the deployment. ",
            "This page shows the stored document; the document itself is the evidence.</p>\n<p>Document: <code>",
            &escape(key),
            "</code><br>SHA-256: <code>",
            &escape(digest),
            "</code></p>\n</footer>\n</body>\n</html>\n",
        ],
    );
    page
}

/// The title of the page, and what the outcome means.
fn statement(outcome: &str, receipt: &Value) -> (&'static str, String) {
    let at = receipt["provenEmptyAt"].as_str().unwrap_or("an unknown time");
    match outcome {
        "erased" if receipt["foundNothing"] == true => (
            "Erasure receipt",
            format!(
                "Nothing was found.\nAt {at}, a complete listing of every place below found nothing, and neither did the first one. If this user had files, the user id or a place is wrong."
            ),
        ),
        "erased" => (
            "Erasure receipt",
            format!(
                "Erased.\nAt {at}, a fresh and complete listing of every place below found nothing{}.",
                kept(receipt)
            ),
        ),
        "swept" => (
            "Receipt of the check for late writes",
            format!(
                "Erased, and checked again.\nAt {at}, another complete listing of every place below found nothing{}. The counts are what arrived after the first verification.",
                kept(receipt)
            ),
        ),
        "dry-run" => (
            "Report of a dry run",
            "Nothing was deleted.\nThe counts are what an erasure would delete.".to_owned(),
        ),
        _ => (
            "Report of an incomplete erasure",
            format!(
                "Not erased.\nFiles of this user remain: {}",
                receipt["reason"].as_str().unwrap_or("the reason is not known")
            ),
        ),
    }
}

fn kept(receipt: &Value) -> String {
    match receipt["keptNewer"].as_u64().unwrap_or_default() {
        0 => String::new(),
        count => format!(", except {count} objects that are newer than the request covers"),
    }
}

/// One table of all places, and what remains there.
fn targets(receipt: &Value, outcome: &str) -> String {
    let verb = if outcome == "dry-run" { "Would be deleted" } else { "Deleted" };
    let mut page = format!("<h2>{verb}</h2>\n<table><thead><tr><th>place</th>");
    for (_, name) in COUNTS {
        write_all(&mut page, &["<th>", name, "</th>"]);
    }
    page += "</tr></thead><tbody>\n";
    let total = [("all places".to_owned(), receipt)];
    let places = list(&receipt["targets"]).map(|target| (place(target), target));
    for (place, counts) in places.chain(total) {
        write_all(&mut page, &["<tr><td class=\"place\"><code>", &escape(&place), "</code></td>"]);
        for (field, _) in COUNTS {
            let count = counts[field].as_u64().unwrap_or_default();
            write_all(&mut page, &["<td class=\"n\">", &count.to_string(), "</td>"]);
        }
        page += "</tr>\n";
    }
    page += "</tbody></table>\n<h2>Remaining</h2>\n";
    let remaining: String = list(&receipt["targets"]).map(remaining_at).collect();
    if remaining.is_empty() {
        page += "<p>Nothing was reported as remaining.</p>\n";
    } else {
        write_all(&mut page, &["<table><tbody>\n", &remaining, "</tbody></table>\n"]);
    }
    page
}

fn place(target: &Value) -> String {
    let text = |field: &str| target[field].as_str().unwrap_or_default();
    format!("s3://{}/{}", text("bucket"), text("prefix"))
}

/// What a target kept, and why.
fn remaining_at(target: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut texts = Vec::new();
    for lock in list(&target["retained"]) {
        let reason = match lock["reason"].as_str().unwrap_or_default() {
            "legal-hold" => "a legal hold of Object Lock",
            "governance" => "Object Lock in governance mode",
            "compliance" => "Object Lock in compliance mode",
            other => other,
        };
        let from = lock["erasableFrom"].as_str();
        let from = from.map(|time| format!(", until {time} at the earliest")).unwrap_or_default();
        texts.push(format!("{} versions retained by {reason}{from}", number(&lock["count"])));
    }
    for failure in list(&target["refused"]) {
        let code = failure["code"].as_str().unwrap_or_default();
        texts.push(format!("{} items that S3 did not delete: {code}", number(&failure["count"])));
    }
    if number(&target["markersKept"]) > 0 {
        let count = number(&target["markersKept"]);
        texts.push(format!("{count} delete markers that hide remaining versions"));
    }
    let place = place(target);
    texts.into_iter().map(|text| row(&place, &text)).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn row(name: &str, value: &str) -> String {
    format!("<tr><th>{}</th><td><code>{}</code></td></tr>\n", escape(name), escape(value))
}

fn write_all(page: &mut String, texts: &[&str]) {
    texts.iter().for_each(|text| page.push_str(text));
}

/// Text that HTML takes as text, between tags and in attributes. Control characters become visible.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push('\n'),
            _ if sign.is_control() => escaped.extend(sign.escape_unicode()),
            _ => escaped.push(sign),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::certificate;

    fn receipt() -> Value {
        json!({
            "version": 1, "outcome": "erased", "erasureId": "r-1", "user": "0a1b",
            "withdrawnAt": "2026-01-31T11:00:00Z", "requestedAt": "2026-01-31T12:00:00Z",
            "startedAt": "2026-01-31T12:00:01Z", "finishedAt": "2026-01-31T12:00:03Z",
            "provenEmptyAt": "2026-01-31T12:00:02Z", "hops": 1,
            "objects": 200, "versions": 60, "deleteMarkers": 7, "uploads": 4, "bytes": 10640,
            "keptNewer": 0,
            "targets": [{
                "bucket": "documents", "prefix": "users/{user_id}/",
                "objects": 200, "versions": 60, "deleteMarkers": 7, "uploads": 4, "bytes": 10640,
                "keptNewer": 0, "retained": [], "refused": [], "markersKept": 0,
            }],
            "requests": 24, "throttles": 0,
            "notReached": ["replicas in other buckets", "backups"],
        })
    }

    fn page(receipt: &Value) -> String {
        certificate("s3://receipts/r-1/erased.json", &receipt.to_string(), "cafe")
    }

    fn assert_has(page: &str, texts: &[&str]) {
        for text in texts {
            assert!(page.contains(text), "no {text:?} in {page}");
        }
    }

    #[test]
    fn an_erasure_says_who_when_what_and_what_it_does_not_cover() {
        let page = page(&receipt());
        let texts = [
            "<h1>Erasure receipt</h1>",
            "class=\"outcome erased\"",
            "At 2026-01-31T12:00:02Z, a fresh and complete listing of every place below found nothing.",
            "<th>user (keyed hash)</th><td><code>0a1b</code>",
            "<th>requested</th><td><code>2026-01-31T12:00:00Z</code>",
            "<code>s3://documents/users/{user_id}/</code></td><td class=\"n\">200</td>",
            "Nothing was reported as remaining.",
            "<li>replicas in other buckets</li>\n<li>backups</li>",
            "s3://receipts/r-1/erased.json",
            "SHA-256: <code>cafe</code>",
            "@media print",
        ];
        assert_has(&page, &texts);
        assert!(!page.contains("eraseBefore") && !page.contains("<script"), "{page}");
    }

    #[test]
    fn what_remains_is_said_with_its_reason() {
        let mut receipt = receipt();
        receipt["outcome"] = json!("incomplete");
        receipt["reason"] = json!("3 versions are locked");
        receipt["targets"][0]["retained"] = json!([
            {"reason": "compliance", "count": 2, "erasableFrom": "2030-03-17T17:46:40Z"},
            {"reason": "legal-hold", "count": 1},
        ]);
        receipt["targets"][0]["refused"] = json!([{"code": "AccessDenied", "count": 5}]);
        receipt["targets"][0]["markersKept"] = json!(4);
        let page = page(&receipt);
        let texts = [
            "Not erased.<br>Files of this user remain: 3 versions are locked",
            "2 versions retained by Object Lock in compliance mode, until 2030-03-17T17:46:40Z at the earliest",
            "1 versions retained by a legal hold of Object Lock<",
            "5 items that S3 did not delete: AccessDenied",
            "4 delete markers that hide remaining versions",
        ];
        assert_has(&page, &texts);
        assert!(!page.contains("fresh and complete"), "{page}");
    }

    #[test]
    fn every_outcome_has_words_of_its_own() {
        let statement = |change: fn(&mut Value)| {
            let mut receipt = receipt();
            change(&mut receipt);
            let page = page(&receipt);
            let (_, rest) = page.split_once("<p class=\"outcome").expect("a statement");
            rest.split_once("</p>").expect("its end").0.to_owned()
        };
        let found_nothing = statement(|receipt| receipt["foundNothing"] = json!(true));
        assert_has(&found_nothing, &["Nothing was found.", "the user id or a place is wrong"]);
        let swept = statement(|receipt| receipt["outcome"] = json!("swept"));
        assert_has(&swept, &["checked again", "2026-01-31T12:00:02Z"]);
        let dry_run = statement(|receipt| receipt["outcome"] = json!("dry-run"));
        assert_has(&dry_run, &["Nothing was deleted."]);
        let kept = statement(|receipt| receipt["keptNewer"] = json!(3));
        assert_has(&kept, &["except 3 objects that are newer"]);
        // A document of a later release, or none at all, never reads as an erasure.
        for outcome in [json!("more"), Value::Null] {
            let mut receipt = receipt();
            receipt["outcome"] = outcome;
            assert_has(&page(&receipt), &["Not erased."]);
        }
        assert_has(&certificate("key", "no JSON", ""), &["Not erased."]);
    }

    #[test]
    fn nothing_in_a_receipt_becomes_markup() {
        let evil = "</code><script>alert('1')</script>\"&\u{1b}";
        let mut receipt = receipt();
        for field in ["outcome", "erasureId", "user", "requestedAt", "reason"] {
            receipt[field] = json!(evil);
        }
        receipt["notReached"] = json!([evil]);
        receipt["targets"][0]["bucket"] = json!(evil);
        receipt["targets"][0]["prefix"] = json!(evil);
        receipt["targets"][0]["refused"] = json!([{"code": evil, "count": 1}]);
        receipt["targets"][0]["retained"] =
            json!([{"reason": evil, "count": 1, "erasableFrom": evil}]);
        let page = certificate(evil, &receipt.to_string(), evil);
        assert!(!page.contains("<script") && !page.contains("alert('1')"), "{page}");
        assert!(!page.contains('\u{1b}'), "{page}");
        let escaped =
            "&lt;/code&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;\\u{1b}";
        // Every place of a target has it twice: in the bucket and in the prefix.
        assert_eq!(page.matches(escaped).count(), 17, "{page}");
        let tags = |name: &str| {
            (
                page.matches(&format!("<{name}>")).count(),
                page.matches(&format!("</{name}>")).count(),
            )
        };
        for name in ["code", "li", "tr", "th", "table", "tbody", "p"] {
            let (open, close) = tags(name);
            assert!(close >= open && close - open <= 1, "{name}: {open} opened, {close} closed");
        }
    }
}
