//! CloudWatch's metric math, as far as the scaling templates use it, at one point in time.
//!
//! A metric may have no point there. Whatever is reckoned with a missing value is missing, unless `FILL` fills it.

use std::collections::BTreeMap;

/// The value of an expression; none where it has no point.
///
/// # Panics
/// When the expression uses a metric that is not given, or something that this part of metric math does not have.
#[must_use]
pub fn evaluate(expression: &str, metrics: &BTreeMap<&str, Option<f64>>) -> Option<f64> {
    let mut parser = Parser { tokens: tokens(expression), at: 0, metrics, expression };
    let value = parser.comparison();
    assert!(parser.peek().is_none(), "`{expression}` goes on after its end");
    value
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Sign(String),
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = |belongs: fn(char) -> bool| rest.find(|symbol| !belongs(symbol)).unwrap_or(rest.len());
        let (token, length) = if first.is_ascii_digit() {
            let length = length(|symbol| symbol.is_ascii_digit() || symbol == '.');
            (Token::Number(rest[..length].parse().expect("digits are a number")), length)
        } else if first.is_ascii_alphabetic() {
            let length = length(|symbol| symbol.is_ascii_alphanumeric() || symbol == '_');
            (Token::Name(rest[..length].to_owned()), length)
        } else {
            let length = if ["<=", ">=", "==", "!="].iter().any(|sign| rest.starts_with(sign)) { 2 } else { 1 };
            (Token::Sign(rest[..length].to_owned()), length)
        };
        found.push(token);
        rest = rest[length..].trim_start();
    }
    found
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    metrics: &'a BTreeMap<&'a str, Option<f64>>,
    expression: &'a str,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Takes one of the signs, if it comes next.
    fn take(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let found = signs.iter().find(|sign| self.peek() == Some(&Token::Sign((**sign).to_owned()))).copied();
        self.at += usize::from(found.is_some());
        found
    }

    fn expect(&mut self, sign: &'static str) {
        assert!(self.take(&[sign]).is_some(), "`{}` lacks a `{sign}` at {:?}", self.expression, self.peek());
    }

    fn comparison(&mut self) -> Option<f64> {
        let left = self.sum();
        let Some(sign) = self.take(&["<=", ">=", "==", "!=", "<", ">"]) else { return left };
        let (left, right) = (left, self.sum());
        let (left, right) = (left?, right?);
        let holds = match sign {
            "<=" => left <= right,
            ">=" => left >= right,
            "==" => left.total_cmp(&right).is_eq(),
            "!=" => left.total_cmp(&right).is_ne(),
            "<" => left < right,
            _ => left > right,
        };
        Some(f64::from(u8::from(holds)))
    }

    fn sum(&mut self) -> Option<f64> {
        let mut value = self.product();
        while let Some(sign) = self.take(&["+", "-"]) {
            let next = self.product();
            value = value.zip(next).map(|(left, right)| if sign == "+" { left + right } else { left - right });
        }
        value
    }

    fn product(&mut self) -> Option<f64> {
        let mut value = self.factor();
        while let Some(sign) = self.take(&["*", "/"]) {
            let next = self.factor();
            let reckon = |(left, right): (f64, f64)| if sign == "*" { left * right } else { left / right };
            // A division by zero gives no point.
            value = value.zip(next).map(reckon).filter(|value| value.is_finite());
        }
        value
    }

    fn factor(&mut self) -> Option<f64> {
        if self.take(&["("]).is_some() {
            let value = self.comparison();
            self.expect(")");
            return value;
        }
        let token = self.peek().cloned();
        self.at += 1;
        match token {
            Some(Token::Number(number)) => Some(number),
            Some(Token::Name(name)) if self.take(&["("]).is_some() => self.function(&name),
            Some(Token::Name(name)) => {
                *self.metrics.get(name.as_str()).unwrap_or_else(|| panic!("`{}` uses `{name}`", self.expression))
            }
            other => panic!("`{}` has {other:?} where a value is due", self.expression),
        }
    }

    fn function(&mut self, name: &str) -> Option<f64> {
        let mut arguments = vec![self.comparison()];
        while self.take(&[","]).is_some() {
            arguments.push(self.comparison());
        }
        self.expect(")");
        match (name, arguments.as_slice()) {
            ("FILL", [metric, filling]) => metric.or(*filling),
            ("IF", [condition, then, otherwise]) => condition.and_then(|it| if it == 0.0 { *otherwise } else { *then }),
            _ => panic!("`{}` calls {name} with {} arguments", self.expression, arguments.len()),
        }
    }
}
