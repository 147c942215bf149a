//! Reads variables and collects all errors.

use std::fmt;
use std::str::FromStr;

/// All errors in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) faults: Vec<SettingError>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SettingError {
    variable: &'static str,
    value: Option<String>,
    expected: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.faults.len() == 1 { "setting is" } else { "settings are" };
        write!(formatter, "{} {noun} wrong:", self.faults.len())?;
        for SettingError { variable, value, expected } in &self.faults {
            match value {
                Some(value) => write!(formatter, "\n  {variable} is {value:?}: {expected}")?,
                None => write!(formatter, "\n  {variable} is not set: {expected}")?,
            }
        }
        Ok(())
    }
}

/// Reads variables one by one and collects their errors.
pub(super) struct Vars<Lookup> {
    pub(super) lookup: Lookup,
    pub(super) faults: Vec<SettingError>,
}

impl<Lookup: Fn(&str) -> Option<String>> Vars<Lookup> {
    pub(super) fn required<T>(
        &mut self,
        variable: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.value(variable).is_none() {
            self.fault(variable, expected.to_owned());
        }
        self.optional(variable, parse)
    }

    pub(super) fn optional<T>(
        &mut self,
        variable: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parsed = parse(&self.value(variable)?);
        parsed.map_err(|expected| self.fault(variable, expected)).ok()
    }

    /// Records that the value of a variable is wrong or missing.
    pub(super) fn fault(&mut self, variable: &'static str, expected: String) {
        let value = self.value(variable);
        self.faults.push(SettingError { variable, value, expected });
    }

    /// The value of a variable; an empty value counts as unset.
    pub(super) fn value(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    pub(super) fn boolean(&mut self, variable: &'static str) -> bool {
        self.optional(variable, boolean).unwrap_or(false)
    }

    pub(super) fn number(
        &mut self,
        variable: &'static str,
        default: u32,
        least: u32,
        most: u32,
    ) -> u32 {
        self.optional(variable, |text| number(text, least, most)).unwrap_or(default)
    }
}

pub(super) fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let in_range = u32::from_str(text).ok().filter(|number| (least..=most).contains(number));
    in_range.ok_or_else(|| format!("expected a whole number from {least} to {most}"))
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}
