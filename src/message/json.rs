//! Parses JSON that has no duplicate fields. With duplicates, a system that checked the message
//! earlier may have read the other value.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The largest number of values in a text: an object takes more than 600 bytes of memory, even if
/// its text has 7 bytes.
const MAX_VALUES: usize = 10_000;

/// Parses JSON and rejects duplicate fields of an object at any depth.
///
/// The error states a position and never repeats the text. Nesting is limited to 128 levels, as
/// always in `serde_json`, and a text to 10,000 values.
pub fn parse(text: &str) -> Result<Value, String> {
    let left = Cell::new(MAX_VALUES);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = UniqueKeys { left: &left }.deserialize(&mut deserializer);
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| error.to_string())
}

/// Deserializes one value, unless the limit of values is reached.
#[derive(Clone, Copy)]
struct UniqueKeys<'a> {
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for UniqueKeys<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom(format_args!("it has more than {MAX_VALUES} values")));
        };
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.insert(name, fields.next_value_seed(self)?).is_some() {
                return Err(A::Error::custom("it has a field twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_field_that_stands_twice_is_refused_however_deep() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":2,"a":3}}]"#, r#"{"a":1,"\u0061":2}"#]
        {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("it has a field twice at line 1"), "{error}");
        }
    }

    #[test]
    fn the_number_of_values_is_bounded_wherever_they_stand() {
        let array = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(parse(&array(MAX_VALUES)).is_ok());
        let objects = format!("[{}0]", r#"{"":0},"#.repeat(MAX_VALUES / 2));
        let nested = format!(r#"{{"a":{},"b":{}}}"#, array(MAX_VALUES / 2), array(MAX_VALUES / 2));
        for text in [array(MAX_VALUES + 1), objects, nested] {
            let error = parse(&text).unwrap_err();
            assert!(
                error.starts_with("it has more than 10000 values at line 1 column "),
                "{error}"
            );
        }
    }

    #[test]
    fn every_kind_of_value_is_read_as_it_stands() {
        let text =
            r#"{"a":true,"b":-7,"c":7,"d":1.5,"e":null,"f":"x","g":[false,{}],"h":{"i":[]}}"#;
        assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    proptest! {
        #[test]
        fn everything_else_is_read_as_serde_json_reads_it(text in r#"[\[\]{}":, \\0-9a-cnulEe.+\-]{0,40}"#) {
            let plain = serde_json::from_str::<Value>(&text);
            match parse(&text) {
                Ok(value) => prop_assert_eq!(value, plain.unwrap()),
                Err(error) => prop_assert!(plain.is_err() || error.contains("twice"), "{}", error),
            }
        }
    }
}
