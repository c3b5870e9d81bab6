//! Numbers in sentences.

use std::fmt::Display;

/// A number and what is counted: `1 core`, `2 cores`, `0.5 cores`.
pub fn counted(number: impl Display, one: &str) -> String {
    let number = number.to_string();
    let ending = if number == "1" { "" } else { "s" };
    format!("{number} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1, "core"), "1 core");
        assert_eq!(counted(1.0, "core"), "1 core");
        assert_eq!(counted(0.5, "core"), "0.5 cores");
        assert_eq!(counted(0, "worker"), "0 workers");
    }
}
