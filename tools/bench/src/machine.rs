//! On what and when something was measured.

use std::fs;

use time::UtcDateTime;

/// The processor, and how many of its cores there are.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    format!("{}, {cores} cores", model(&text).unwrap_or("unknown processor"))
}

fn model(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

/// The day and the minute, in UTC.
pub(crate) fn today() -> String {
    let now = UtcDateTime::now();
    format!("{} {:02}:{:02}", now.date(), now.hour(), now.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_processor() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\ncache size\t: 1 KB\nmodel name\t: another\n";
        assert_eq!(model(text), Some("Some CPU @ 2 GHz"));
        assert_eq!(model(""), None);
    }

    #[test]
    fn tells_the_date() {
        let today = today();
        assert!(today.starts_with("20") && today.len() == "2026-11-23 16:40".len(), "{today:?}");
        assert_eq!((today.find(' '), today.find(':')), (Some(10), Some(13)), "{today:?}");
    }
}
