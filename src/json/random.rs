//! JSON by chance, for tests: the same with each seed.

use super::string;
use crate::random::Random;

impl Random {
    pub fn space(&mut self) -> &'static str {
        ["", "", " ", "\n\t ", "  "][self.below(5)]
    }

    pub fn text(&mut self) -> String {
        let parts = ["a", "b", "\"", "\\", "{", "]", "é", ",", ":", "plain text of some length, "];
        (0..self.below(12)).map(|_| parts[self.below(parts.len())]).collect()
    }

    pub fn value(&mut self, depth: usize) -> String {
        match self.below(if depth > 3 { 5 } else { 7 }) {
            0 => "null".to_owned(),
            1 => "-12.5e3".to_owned(),
            2 => "true".to_owned(),
            3 | 4 => string(&self.text()),
            5 => {
                let parts: Vec<_> = (0..self.below(4)).map(|_| self.spaced(depth)).collect();
                format!("[{}{}]", self.space(), parts.join(","))
            }
            _ => self.object(depth),
        }
    }

    pub fn spaced(&mut self, depth: usize) -> String {
        format!("{}{}{}", self.space(), self.value(depth + 1), self.space())
    }

    pub fn object(&mut self, depth: usize) -> String {
        let names = ["a", "b", "\\u0061x", "c\\\"", "long name that is not asked for"];
        let first = self.below(names.len());
        let members: Vec<_> = (0..self.below(5))
            .map(|n| format!("{}\"{}\"{}:{}", self.space(), names[(first + n) % names.len()], self.space(), self.spaced(depth)))
            .collect();
        format!("{{{}{}}}", self.space(), members.join(","))
    }
}
