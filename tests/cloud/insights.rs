//! `CloudWatch` Logs Insights, as far as the handbook's queries use it; what is not known here is
//! an error.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html>
//!
//! By hand: ministack 1.5.33 and moto 5.2.5 answer queries, but leave out what they do not
//! understand, fields of JSON lines among it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// More fields than this of one line are not discovered.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html>
const MAX_FIELDS: usize = 200;

/// The fields of a line, or of a result.
pub(crate) type Row = BTreeMap<String, Value>;

/// What Insights discovers in the lines of a log.
pub(crate) fn discover(lines: &[String]) -> Result<Vec<Row>, String> {
    let mut now = String::new();
    let mut rows = Vec::new();
    for line in lines {
        let mut row = Row::new();
        if let Ok(object @ Value::Object(_)) = serde_json::from_str(line) {
            flatten("", object, &mut row);
        }
        if row.len() > MAX_FIELDS {
            return Err(format!(
                "{} fields in one line, of which {MAX_FIELDS} are found: {line}",
                row.len()
            ));
        }
        // Lambda's own lines have a `time`; a line with neither comes with those around it.
        let own_time = ["timestamp", "time"].iter().find_map(|name| row.get(*name)?.as_str());
        now = own_time.unwrap_or(&now).to_owned();
        row.insert("@timestamp".to_owned(), json!(now));
        row.insert("@message".to_owned(), json!(line));
        rows.push(row);
    }
    Ok(rows)
}

fn flatten(name: &str, value: Value, row: &mut Row) {
    let below = |key: &str| {
        if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
    };
    match value {
        Value::Object(fields) => {
            fields.into_iter().for_each(|(key, value)| flatten(&below(&key), value, row));
        }
        Value::Array(items) => {
            items
                .into_iter()
                .enumerate()
                .for_each(|(index, item)| flatten(&below(&index.to_string()), item, row));
        }
        Value::Null => {}
        value @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            row.insert(name.to_owned(), value);
        }
    }
}

/// A query that can be understood as a whole.
#[derive(Debug)]
pub(crate) struct Query(Vec<Stage>);

#[derive(Debug)]
enum Stage {
    Filter(Condition),
    /// `fields` and `display`: what is shown, each under a name.
    Show(Vec<(String, String)>),
    Stats(Vec<Aggregate>, Vec<Group>),
    Sort(String, Order),
    Dedup(Vec<String>),
    Limit(usize),
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Ascending,
    Descending,
}

#[derive(Debug)]
enum Condition {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    IsPresent(String),
    Compare(String, String, Value),
    IsOneOf(String, Vec<Value>),
    Like(String, Regex),
}

#[derive(Debug)]
struct Aggregate {
    function: String,
    /// `None` for `count(*)`.
    field: Option<String>,
    name: String,
}

#[derive(Debug)]
enum Group {
    Field(String),
    /// `@timestamp` in steps of so many seconds.
    Bin(i64),
}

/// What a query finds.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) rows: Vec<Row>,
    /// Fields that the query names, and that none of the lines that it looks at has.
    pub(crate) missing: BTreeSet<String>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let mut stages = vec![parser.stage()?];
        while parser.take_if("|") {
            stages.push(parser.stage()?);
        }
        if parser.at < parser.tokens.len() {
            return Err(format!("not understood from {:?} on", &parser.tokens[parser.at..]));
        }
        check_order(&stages)?;
        Ok(Self(stages))
    }

    pub(crate) fn run(&self, log: &[Row]) -> Found {
        // What follows the statistics is about their columns: see `check_order`.
        let statistics = self.0.iter().position(|stage| matches!(stage, Stage::Stats(..)));
        let of_lines = statistics.map_or(&self.0[..], |at| &self.0[..=at]);
        let filters = of_lines.iter().filter(|stage| matches!(stage, Stage::Filter(_)));
        let passing = filters.fold(log.to_vec(), |rows, filter| filter.apply(rows));
        let renamed = of_lines.iter().flat_map(Stage::new_names);
        let known: BTreeSet<&str> =
            passing.iter().flat_map(Row::keys).map(String::as_str).chain(renamed).collect();
        let named = of_lines.iter().flat_map(Stage::fields);
        Found {
            missing: named.filter(|field| !known.contains(field)).map(str::to_owned).collect(),
            rows: self.0.iter().fold(log.to_vec(), |rows, stage| stage.apply(rows)),
        }
    }
}

/// What each command may follow, and which names are known behind `stats`.
fn check_order(stages: &[Stage]) -> Result<(), String> {
    let mut columns: Option<Vec<&str>> = None;
    for (index, stage) in stages.iter().enumerate() {
        // https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax-Dedup.html
        if !matches!(stage, Stage::Limit(_))
            && stages[..index].iter().any(|stage| matches!(stage, Stage::Dedup(_)))
        {
            return Err("only `limit` may follow `dedup`".to_owned());
        }
        if let Some(columns) = &columns
            && let Some(unknown) = stage.fields().into_iter().find(|field| !columns.contains(field))
        {
            return Err(format!(
                "{unknown:?} is no column of the statistics before it: {columns:?}"
            ));
        }
        if let Stage::Stats(aggregates, groups) = stage {
            if columns.is_some() {
                return Err("statistics of statistics are not known here".to_owned());
            }
            let of_groups = groups.iter().map(|group| match group {
                Group::Field(field) => field.as_str(),
                Group::Bin(_) => "bin",
            });
            columns = Some(
                aggregates
                    .iter()
                    .map(|aggregate| aggregate.name.as_str())
                    .chain(of_groups)
                    .collect(),
            );
        }
    }
    Ok(())
}

impl Stage {
    /// The fields that it reads.
    fn fields(&self) -> Vec<&str> {
        match self {
            Self::Filter(condition) => condition.fields(),
            Self::Show(columns) => columns.iter().map(|(field, _)| field.as_str()).collect(),
            Self::Stats(aggregates, groups) => {
                let grouped = groups.iter().map(|group| match group {
                    Group::Field(field) => field.as_str(),
                    Group::Bin(_) => "@timestamp",
                });
                aggregates
                    .iter()
                    .filter_map(|aggregate| aggregate.field.as_deref())
                    .chain(grouped)
                    .collect()
            }
            Self::Sort(field, _) => vec![field],
            Self::Dedup(fields) => fields.iter().map(String::as_str).collect(),
            Self::Limit(_) => Vec::new(),
        }
    }

    /// The names that it gives to fields.
    fn new_names(&self) -> Vec<&str> {
        if let Self::Show(columns) = self {
            columns
                .iter()
                .filter(|(field, name)| field != name)
                .map(|(_, name)| name.as_str())
                .collect()
        } else {
            Vec::new()
        }
    }

    fn apply(&self, mut rows: Vec<Row>) -> Vec<Row> {
        match self {
            Self::Filter(condition) => rows.retain(|row| condition.holds(row)),
            Self::Show(columns) => {
                for row in &mut rows {
                    let renamed = columns
                        .iter()
                        .filter_map(|(field, name)| Some((name.clone(), row.get(field)?.clone())));
                    row.extend(renamed.collect::<Row>());
                }
            }
            Self::Stats(aggregates, groups) => rows = statistics(&rows, aggregates, groups),
            Self::Sort(field, order) => rows.sort_by(|one, other| {
                let order_up = compare(one.get(field), other.get(field));
                if matches!(order, Order::Descending) { order_up.reverse() } else { order_up }
            }),
            Self::Dedup(fields) => {
                let mut seen = BTreeSet::new();
                // Where a field is missing, nothing is a duplicate.
                rows.retain(|row| {
                    let key: Option<Vec<String>> =
                        fields.iter().map(|field| row.get(field).map(text_of)).collect();
                    key.is_none_or(|key| seen.insert(key))
                });
            }
            Self::Limit(limit) => rows.truncate(*limit),
        }
        rows
    }
}

impl Condition {
    fn fields(&self) -> Vec<&str> {
        match self {
            Self::And(one, other) | Self::Or(one, other) => [one.fields(), other.fields()].concat(),
            Self::Not(inner) => inner.fields(),
            Self::IsPresent(field)
            | Self::Compare(field, ..)
            | Self::IsOneOf(field, _)
            | Self::Like(field, _) => {
                vec![field]
            }
        }
    }

    /// What a line does not have is equal to nothing, and different from nothing.
    fn holds(&self, row: &Row) -> bool {
        match self {
            Self::And(one, other) => one.holds(row) && other.holds(row),
            Self::Or(one, other) => one.holds(row) || other.holds(row),
            Self::Not(inner) => !inner.holds(row),
            Self::IsPresent(field) => row.contains_key(field),
            Self::Compare(field, operator, value) => row.get(field).is_some_and(|found| {
                let order = compare(Some(found), Some(value));
                match operator.as_str() {
                    "=" => order.is_eq(),
                    "!=" => order.is_ne(),
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                }
            }),
            Self::IsOneOf(field, values) => row.get(field).is_some_and(|found| {
                values.iter().any(|value| compare(Some(found), Some(value)).is_eq())
            }),
            Self::Like(field, pattern) => {
                row.get(field).is_some_and(|found| pattern.is_match(&text_of(found)))
            }
        }
    }
}

fn statistics(rows: &[Row], aggregates: &[Aggregate], groups: &[Group]) -> Vec<Row> {
    let mut by_key: BTreeMap<Vec<String>, (Row, Vec<&Row>)> = BTreeMap::new();
    for row in rows {
        let of_group = |group: &Group| match group {
            Group::Field(field) => (field.clone(), row.get(field).cloned().unwrap_or_default()),
            Group::Bin(seconds) => {
                let at = row.get("@timestamp").and_then(Value::as_str).unwrap_or_default();
                let at =
                    OffsetDateTime::parse(at, &Rfc3339).map_or(0, OffsetDateTime::unix_timestamp);
                ("bin".to_owned(), json!(at - at.rem_euclid(*seconds)))
            }
        };
        let group: Row = groups.iter().map(of_group).collect();
        let key = group.values().map(text_of).collect();
        by_key.entry(key).or_insert_with(|| (group, Vec::new())).1.push(row);
    }
    let in_group = |(group, rows): (Row, Vec<&Row>)| {
        let aggregated =
            aggregates.iter().map(|aggregate| (aggregate.name.clone(), aggregate.of(&rows)));
        group.into_iter().chain(aggregated).collect()
    };
    by_key.into_values().map(in_group).collect()
}

impl Aggregate {
    fn of(&self, rows: &[&Row]) -> Value {
        let Some(field) = &self.field else {
            return json!(rows.len());
        };
        let mut having: Vec<&&Row> = rows.iter().filter(|row| row.contains_key(field)).collect();
        having.sort_by(|one, other| compare(one.get("@timestamp"), other.get("@timestamp")));
        let values: Vec<&Value> = having.into_iter().filter_map(|row| row.get(field)).collect();
        let sum = || values.iter().filter_map(|value| value.as_f64()).sum::<f64>();
        let found = match self.function.as_str() {
            "count" => Some(json!(values.len())),
            "count_distinct" => Some(json!(
                values.iter().map(|value| text_of(value)).collect::<BTreeSet<_>>().len()
            )),
            "sum" => Some(json!(sum())),
            "avg" => u32::try_from(values.len()).ok().map(|count| json!(sum() / f64::from(count))),
            "max" => {
                values.into_iter().max_by(|one, other| compare(Some(one), Some(other))).cloned()
            }
            "min" => {
                values.into_iter().min_by(|one, other| compare(Some(one), Some(other))).cloned()
            }
            "earliest" => values.first().copied().cloned(),
            // `latest`: the parser lets nothing else pass.
            _ => values.last().copied().cloned(),
        };
        found.unwrap_or_default()
    }
}

/// Numbers by their size, everything else by its text, what is missing last.
fn compare(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => text_of(one).cmp(&text_of(other)),
        },
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A command, a field, a function or a number.
    Word(String),
    Text(String),
    Regex(String),
    Sign(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let is_of_word = |c: char| c.is_ascii_alphanumeric() || "_@.*".contains(c);
        let (token, length) = if is_of_word(first) {
            let word: String = rest.chars().take_while(|c| is_of_word(*c)).collect();
            let length = word.len();
            (Token::Word(word), length)
        } else if let '"' | '\'' | '/' = first {
            let end =
                rest[1..].find(first).ok_or_else(|| format!("{first} has no end in {rest:?}"))?;
            let inner = rest[1..=end].to_owned();
            if inner.contains('\\') && first != '/' {
                return Err(format!("escapes are not known here: {inner:?}"));
            }
            (if first == '/' { Token::Regex(inner) } else { Token::Text(inner) }, end + 2)
        } else {
            let signs = ["!=", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", "|"];
            let sign = signs.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| format!("not understood: {rest:?}"))?;
            (Token::Sign(sign.to_owned()), sign.len())
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    /// Takes the next token if it is this sign or keyword.
    fn take_if(&mut self, what: &str) -> bool {
        let is_it = match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) => sign == what,
            Some(Token::Word(word)) => word.eq_ignore_ascii_case(what),
            Some(Token::Text(_) | Token::Regex(_)) | None => false,
        };
        self.at += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, what: &str) -> Result<(), String> {
        if self.take_if(what) {
            Ok(())
        } else {
            Err(format!("expected {what:?}, not {:?}", self.tokens.get(self.at)))
        }
    }

    fn next(&mut self) -> Result<Token, String> {
        let token = self.tokens.get(self.at).cloned().ok_or("it ends too early")?;
        self.at += 1;
        Ok(token)
    }

    fn word(&mut self) -> Result<String, String> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            token @ (Token::Text(_) | Token::Regex(_) | Token::Sign(_)) => {
                Err(format!("expected a name, not {token:?}"))
            }
        }
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut items = vec![item(self)?];
        while self.take_if(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn stage(&mut self) -> Result<Stage, String> {
        let command = self.word()?;
        match command.as_str() {
            "fields" | "display" => Ok(Stage::Show(self.list(|parser| {
                let field = parser.word()?;
                let name = if parser.take_if("as") { parser.word()? } else { field.clone() };
                Ok((field, name))
            })?)),
            "filter" => Ok(Stage::Filter(self.any()?)),
            "stats" => {
                let aggregates = self.list(Self::aggregate)?;
                let groups = if self.take_if("by") { self.list(Self::group)? } else { Vec::new() };
                Ok(Stage::Stats(aggregates, groups))
            }
            "sort" => {
                let field = self.word()?;
                let is_descending = self.take_if("desc");
                if !is_descending {
                    self.take_if("asc");
                }
                Ok(Stage::Sort(
                    field,
                    if is_descending { Order::Descending } else { Order::Ascending },
                ))
            }
            "dedup" => Ok(Stage::Dedup(self.list(Self::word)?)),
            "limit" => {
                let limit = self.word()?;
                limit
                    .parse()
                    .map(Stage::Limit)
                    .map_err(|_error| format!("limit {limit:?} is no number"))
            }
            unknown => Err(format!("the command {unknown:?} is not known here")),
        }
    }

    fn any(&mut self) -> Result<Condition, String> {
        let mut condition = self.all()?;
        while self.take_if("or") {
            condition = Condition::Or(Box::new(condition), Box::new(self.all()?));
        }
        Ok(condition)
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut condition = self.one()?;
        while self.take_if("and") {
            condition = Condition::And(Box::new(condition), Box::new(self.one()?));
        }
        Ok(condition)
    }

    fn one(&mut self) -> Result<Condition, String> {
        if self.take_if("not") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.take_if("(") {
            let inner = self.any()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let field = self.word()?;
        if field == "ispresent" {
            self.expect("(")?;
            let field = self.word()?;
            self.expect(")")?;
            return Ok(Condition::IsPresent(field));
        }
        if self.take_if("like") {
            return match self.next()? {
                Token::Regex(pattern) => {
                    let pattern =
                        Regex::new(&pattern).map_err(|error| format!("/{pattern}/: {error}"))?;
                    Ok(Condition::Like(field, pattern))
                }
                token @ (Token::Word(_) | Token::Text(_) | Token::Sign(_)) => {
                    Err(format!("expected a pattern between slashes, not {token:?}"))
                }
            };
        }
        if self.take_if("in") {
            self.expect("[")?;
            let values = self.list(Self::value)?;
            self.expect("]")?;
            return Ok(Condition::IsOneOf(field, values));
        }
        let operators = ["=", "!=", "<", "<=", ">", ">="];
        let operator = operators.into_iter().find(|operator| self.take_if(operator));
        let operator = operator.ok_or_else(|| format!("expected a comparison of {field:?}"))?;
        Ok(Condition::Compare(field, operator.to_owned(), self.value()?))
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.next()? {
            Token::Text(text) => Ok(json!(text)),
            Token::Word(word) => {
                let number = word.parse::<f64>().map(|number| json!(number));
                number.map_err(|_error| format!("{word:?} is neither a number nor a \"text\""))
            }
            token @ (Token::Regex(_) | Token::Sign(_)) => {
                Err(format!("expected a value, not {token:?}"))
            }
        }
    }

    fn aggregate(&mut self) -> Result<Aggregate, String> {
        const FUNCTIONS: [&str; 8] =
            ["avg", "count", "count_distinct", "earliest", "latest", "max", "min", "sum"];
        let function = self.word()?;
        if !FUNCTIONS.contains(&function.as_str()) {
            return Err(format!("the function {function:?} is not known here"));
        }
        self.expect("(")?;
        let field = Some(self.word()?).filter(|field| function != "count" || field != "*");
        self.expect(")")?;
        self.expect("as")?;
        Ok(Aggregate { function, field, name: self.word()? })
    }

    fn group(&mut self) -> Result<Group, String> {
        let field = self.word()?;
        if field != "bin" {
            return Ok(Group::Field(field));
        }
        self.expect("(")?;
        let period = self.word()?;
        self.expect(")")?;
        let seconds = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)].into_iter().find_map(
            |(unit, seconds)| {
                let count: i64 = period.strip_suffix(unit)?.parse().ok()?;
                (count > 0).then_some(count * seconds)
            },
        );
        seconds.map(Group::Bin).ok_or_else(|| format!("bin({period}) is not known here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<Row> {
        let lines = [
            r#"{"timestamp":"2026-01-31T12:00:01Z","message":"m","n":2,"who":"a","in":{"list":[{"x":7}]}}"#,
            r#"{"timestamp":"2026-01-31T12:04:59Z","message":"m","n":10,"who":"b"}"#,
            r#"{"timestamp":"2026-01-31T12:05:00Z","message":"m","n":3,"who":"a","why":"it is so"}"#,
            "no JSON",
        ];
        discover(&lines.map(str::to_owned)).unwrap()
    }

    /// The values of one column, as text.
    fn column(query: &str, name: &str) -> Vec<String> {
        let rows = Query::parse(query).unwrap().run(&log()).rows;
        rows.iter().map(|row| row.get(name).map_or_else(|| "-".to_owned(), text_of)).collect()
    }

    #[test]
    fn reads_filters_as_insights_does() {
        assert_eq!(column(r#"filter who = "a""#, "n"), ["2", "3"]);
        assert_eq!(column(r#"filter who != "a" or n < 3"#, "n"), ["2", "10"]);
        assert_eq!(column(r#"filter n >= 3 and not (who = "b")"#, "n"), ["3"]);
        assert_eq!(
            column("filter @message like /^no JSON$/", "@timestamp"),
            ["2026-01-31T12:05:00Z"]
        );
        assert_eq!(column("filter ispresent(why) or in.list.0.x = 7", "n"), ["2", "3"]);
        assert_eq!(column("filter who in ['b', 'c'] or n in [3, 4]", "n"), ["10", "3"]);
        assert_eq!(column("filter who like /a|b/ | sort n desc | limit 2", "n"), ["10", "3"]);
    }

    #[test]
    fn adds_up_by_field_and_by_time() {
        let of = |name| {
            column("filter n > 0 | stats count(*) as c, sum(n) as s, latest(why) as w by who", name)
        };
        assert_eq!(
            (of("who"), of("c"), of("s"), of("w")),
            three(["a", "b"], ["2", "1"], ["5.0", "10.0"], ["it is so", "null"])
        );
        assert_eq!(column("filter n > 0 | stats max(n) as most by bin(5m)", "most"), ["10", "3"]);
        assert_eq!(
            column("stats count(n) as c, earliest(n) as e | filter c = 3 | sort e asc", "e"),
            ["2"]
        );
        assert_eq!(column("filter n > 0 | sort @timestamp desc | dedup who", "n"), ["3", "10"]);
    }

    type Columns = (Vec<String>, Vec<String>, Vec<String>, Vec<String>);

    fn three(a: [&str; 2], b: [&str; 2], c: [&str; 2], d: [&str; 2]) -> Columns {
        let owned = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        (owned(a), owned(b), owned(c), owned(d))
    }

    #[test]
    fn names_the_fields_that_no_line_has() {
        let found =
            Query::parse(r#"filter who = "b" | fields n, why, nonsense"#).unwrap().run(&log());
        assert_eq!(found.rows.len(), 1);
        assert_eq!(found.missing.into_iter().collect::<Vec<_>>(), ["nonsense", "why"]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let refused = [
            "",
            "filter",
            "filter n",
            "filter n = ",
            r#"filter who = "a"#,
            "filter who = a",
            "filter n > 1 extra",
            "filter strlen(who) > 1",
            "parse @message /x/",
            "stats median(n) as m",
            "stats count(*)",
            "stats count(*) as c by bin(5x)",
            "stats count(*) as c by who | sort n desc",
            "fields n + 1",
            "dedup who | display who",
            "limit many",
            "fields `who`",
        ];
        for query in refused {
            assert!(Query::parse(query).is_err(), "{query:?} was understood");
        }
    }
}
