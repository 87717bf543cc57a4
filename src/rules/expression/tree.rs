//! An expression as it is judged: a tree over the values of the moment. Pure.

use crate::reading::Value;

/// Its kinds have been checked as far as they were known; what does not go together after all is not known.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Is(Value),
    /// The value of a point, by its place among the names.
    Point(usize),
    Not(Box<Node>),
    Minus(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Choice(Box<[Node; 3]>),
    Same(Box<[Node; 2]>),
    Order(Order, Box<[Node; 2]>),
    Sum(Sum, Box<[Node; 2]>),
    Among(Box<Node>, Vec<Node>),
    Call(Function, Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Less,
    LessOrSame,
    Greater,
    GreaterOrSame,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    Plus,
    Minus,
    Times,
    By,
    Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Abs,
    Min,
    Max,
    Floor,
    Ceil,
    Round,
    Double,
    Int,
    Size,
    Contains,
    StartsWith,
    EndsWith,
}

impl Node {
    /// `None`: it cannot be said (a division by zero, a text where a number has to be).
    pub fn value(&self, points: &[Option<Value>]) -> Option<Value> {
        Some(match self {
            Node::Is(value) => value.clone(),
            Node::Point(place) => return points.get(*place)?.clone(),
            Node::Not(node) => Value::Bool(!node.flag(points)?),
            Node::Minus(node) => Value::Number(-node.number(points)?),
            Node::And(nodes) => Value::Bool(decided(false, nodes, points)?),
            Node::Or(nodes) => Value::Bool(decided(true, nodes, points)?),
            Node::Choice(nodes) => {
                let [condition, yes, no] = &**nodes;
                return if condition.flag(points)? { yes.value(points) } else { no.value(points) };
            }
            Node::Same(nodes) => Value::Bool(nodes[0].value(points)?.same(&nodes[1].value(points)?)),
            Node::Order(order, nodes) => {
                Value::Bool(order.holds(nodes[0].number(points)?, nodes[1].number(points)?))
            }
            Node::Sum(sum, nodes) => {
                Value::Number(sum.of(nodes[0].number(points)?, nodes[1].number(points)?)?)
            }
            Node::Among(node, list) => Value::Bool(among(&node.value(points)?, list, points)?),
            Node::Call(function, nodes) => return function.of(nodes, points),
        })
    }

    fn flag(&self, points: &[Option<Value>]) -> Option<bool> {
        match self.value(points)? {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    fn number(&self, points: &[Option<Value>]) -> Option<f64> {
        self.value(points)?.number()
    }

    fn text(&self, points: &[Option<Value>]) -> Option<std::sync::Arc<str>> {
        match self.value(points)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// One side that says `which` decides, whatever is with the other: `flow != 0 && volume / flow > 3`.
fn decided(which: bool, [left, right]: &[Node; 2], points: &[Option<Value>]) -> Option<bool> {
    let left = left.flag(points);
    if left == Some(which) {
        return left;
    }
    let right = right.flag(points);
    if right == Some(which) { right } else { left.and(right) }
}

fn among(value: &Value, list: &[Node], points: &[Option<Value>]) -> Option<bool> {
    let mut known = true;
    for node in list {
        match node.value(points) {
            Some(other) if other.same(value) => return Some(true),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(false)
}

impl Order {
    fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Order::Less => a < b,
            Order::LessOrSame => a <= b,
            Order::Greater => a > b,
            Order::GreaterOrSame => a >= b,
        }
    }
}

impl Sum {
    fn of(self, a: f64, b: f64) -> Option<f64> {
        let sum = match self {
            Sum::Plus => a + b,
            Sum::Minus => a - b,
            Sum::Times => a * b,
            Sum::By => a / b,
            Sum::Rest => a % b,
        };
        sum.is_finite().then_some(sum)
    }
}

impl Function {
    fn of(self, nodes: &[Node], points: &[Option<Value>]) -> Option<Value> {
        let number = |which: fn(f64) -> f64| nodes.first()?.number(points).map(which).map(Value::Number);
        let text = |which: fn(&str, &str) -> bool| {
            let (text, part) = (nodes.first()?.text(points)?, nodes.get(1)?.text(points)?);
            Some(Value::Bool(which(&text, &part)))
        };
        match self {
            Function::Abs => number(f64::abs),
            Function::Floor => number(f64::floor),
            Function::Ceil => number(f64::ceil),
            Function::Round => number(f64::round),
            Function::Int => number(f64::trunc),
            Function::Min => least(nodes, points, f64::min),
            Function::Max => least(nodes, points, f64::max),
            Function::Double => match nodes.first()?.value(points)? {
                Value::Text(text) => {
                    text.trim().parse().ok().filter(|v: &f64| v.is_finite()).map(Value::Number)
                }
                value => value.number().map(Value::Number),
            },
            Function::Size => {
                let letters = nodes.first()?.text(points)?.chars().count();
                Some(Value::Signed(letters as i64))
            }
            Function::Contains => text(|text, part| text.contains(part)),
            Function::StartsWith => text(|text, part| text.starts_with(part)),
            Function::EndsWith => text(|text, part| text.ends_with(part)),
        }
    }
}

/// The least, or the greatest: what `which` makes of two.
fn least(nodes: &[Node], points: &[Option<Value>], which: fn(f64, f64) -> f64) -> Option<Value> {
    let mut found: Option<f64> = None;
    for node in nodes {
        let number = node.number(points)?;
        found = Some(found.map_or(number, |found| which(found, number)));
    }
    found.map(Value::Number)
}
