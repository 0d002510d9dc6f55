//! A day of the calendar, where a result depends on one that was said.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A day, written as `2024-07-26`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// Years from 1 to 9999.
    pub fn year(self) -> u16 {
        self.year
    }

    /// From 1 to 12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// From 1 to the last of its month.
    pub fn day(self) -> u8 {
        self.day
    }
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no date: give year, month and day, as in 2024-07-26");
        let digits = |range| {
            let part: &str =
                text.get(range).filter(|part: &&str| part.bytes().all(|b| b.is_ascii_digit()))?;
            part.parse::<u16>().ok()
        };
        let shape = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
        let parts = shape.then(|| Some((digits(0..4)?, digits(5..7)?, digits(8..10)?))).flatten();
        let (year, month, day) = parts.ok_or_else(wrong)?;
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let last = match month {
            2 => 28 + u16::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return Err(wrong()),
        };
        if year == 0 || !(1..=last).contains(&day) {
            return Err(wrong());
        }
        // Both are below a hundred.
        Ok(Self { year, month: month as u8, day: day as u8 })
    }
}

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar_are_read_and_written() {
        for text in ["2024-07-26", "0001-01-01", "2024-02-29", "2000-02-29", "9999-12-31"] {
            let date: Date = text.parse().unwrap();
            assert_eq!(date.to_string(), text);
            assert_eq!(serde_json::from_str::<Date>(&serde_json::to_string(&date).unwrap()).unwrap(), date);
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        let wrong = [
            "",
            "today",
            "2024-7-26",
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-04-31",
            "0000-01-01",
            "2024-01-00",
            "+024-01-01",
            "2024-01-é",
            "26-07-2024",
        ];
        for text in wrong {
            assert!(text.parse::<Date>().unwrap_err().contains("is no date: give year"), "{text}");
        }
    }
}
