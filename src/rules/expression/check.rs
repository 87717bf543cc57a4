//! From what the parser read to what is judged: each name is one of the rule's, each function one of those there are, and
//! kinds go together. Whole numbers and others mix; a macro or anything else that could loop is refused.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};

use super::tree::{Function, Node, Order, Sum};
use super::{Cure, Fault, Kind, Name};
use crate::reading::Value;

type Checked = Result<(Node, Kind), Fault>;

/// Name, and how many arguments at least and at most.
const FUNCTIONS: [(&str, Function, usize, usize); 12] = [
    ("abs", Function::Abs, 1, 1),
    ("min", Function::Min, 2, 16),
    ("max", Function::Max, 2, 16),
    ("floor", Function::Floor, 1, 1),
    ("ceil", Function::Ceil, 1, 1),
    ("round", Function::Round, 1, 1),
    ("double", Function::Double, 1, 1),
    ("int", Function::Int, 1, 1),
    ("size", Function::Size, 1, 1),
    ("contains", Function::Contains, 2, 2),
    ("startsWith", Function::StartsWith, 2, 2),
    ("endsWith", Function::EndsWith, 2, 2),
];
/// As CEL's own library calls some of them: `math.abs(x)`.
const MATH: [(&str, &str); 6] = [
    ("abs", "abs"),
    ("least", "min"),
    ("greatest", "max"),
    ("floor", "floor"),
    ("ceil", "ceil"),
    ("round", "round"),
];

pub fn check(text: &str, parsed: &IdedExpr, places: &SourceInfo, names: &[Name]) -> Result<Node, Fault> {
    let mut check = Check { text, places, names, used: vec![false; names.len()] };
    let tree = check.flag(parsed)?;
    match names.iter().zip(&check.used).find(|(_, used)| !**used) {
        Some((name, _)) => {
            let what = format!("the expression does not use `{}`", name.name);
            Err(Fault::new(0, text.len(), what, "leave it out of `points`, or use it"))
        }
        None => Ok(tree),
    }
}

struct Check<'a> {
    text: &'a str,
    places: &'a SourceInfo,
    names: &'a [Name],
    used: Vec<bool>,
}

impl Check<'_> {
    fn fault(&self, at: &IdedExpr, what: impl Into<String>, cure: impl Into<String>) -> Fault {
        let (start, end) = self.place(at);
        Fault::new(start, end - start, what, cure)
    }

    /// Where it stands, in bytes.
    fn place(&self, node: &IdedExpr) -> (usize, usize) {
        let (start, stop) = self.places.offset_for(node.id).unwrap_or_default();
        let mut start = (start as usize).min(self.text.len().saturating_sub(1));
        let mut end = (stop as usize + 1).clamp(start + 1, self.text.len().max(start + 1));
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        while end < self.text.len() && !self.text.is_char_boundary(end) {
            end += 1;
        }
        (start, end)
    }

    fn node(&mut self, node: &IdedExpr) -> Checked {
        match &node.expr {
            Expr::Literal(literal) => self.literal(node, literal),
            Expr::Ident(name) => self.name(node, name.trim_start_matches('.')),
            Expr::Call(call) => self.call(node, call),
            Expr::Select(select) => {
                self.node(&select.operand)?;
                Err(self.fault(node, "a point has no fields", "name the point itself in `points`"))
            }
            Expr::Comprehension(_) => Err(self.fault(
                node,
                "an expression does not go through lists",
                "write it out: `a > 1 || b > 1`",
            )),
            _ => Err(self.fault(node, "a list or map has no place here", "after `in` there may be a list")),
        }
    }

    fn literal(&self, node: &IdedExpr, literal: &LiteralValue) -> Checked {
        Ok(match literal {
            LiteralValue::Boolean(flag) => (Node::Is(Value::Bool(*flag.inner())), Kind::Bool),
            LiteralValue::Double(number) => (Node::Is(Value::Number(*number.inner())), Kind::Number),
            LiteralValue::Int(number) => (Node::Is(Value::Signed(*number.inner())), Kind::Number),
            LiteralValue::UInt(number) => (Node::Is(Value::Unsigned(*number.inner())), Kind::Number),
            LiteralValue::String(text) => (Node::Is(Value::Text(text.inner().into())), Kind::Text),
            LiteralValue::Bytes(_) => {
                return Err(self.fault(node, "bytes are no value of a point", "write text"));
            }
            LiteralValue::Null => {
                let cure = "leave it out: while a point is not known, nothing opens or clears";
                return Err(self.fault(node, "no value of a point is null", cure));
            }
        })
    }

    fn name(&mut self, node: &IdedExpr, name: &str) -> Checked {
        let Some(place) = self.names.iter().position(|there| there.name == name) else {
            let (at, end) = self.place(node);
            let there_is = self.names.iter().map(|name| name.name.clone()).collect();
            let cure = Cure::Meant { word: name.to_owned(), there_is };
            let what = format!("`points` has no name `{name}`");
            return Err(Fault { at, length: end - at, what, cure });
        };
        self.used[place] = true;
        Ok((Node::Point(place), self.names[place].kind.clone()))
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Checked {
        if let ([a, b], None) = (call.args.as_slice(), &call.target)
            && let Some(checked) = self.binary(node, &call.func_name, a, b)
        {
            return checked;
        }
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::CONDITIONAL, [condition, yes, no]) => self.choice(condition, yes, no),
            (operators::LOGICAL_NOT, [of]) => Ok((Node::Not(Box::new(self.flag(of)?)), Kind::Bool)),
            (operators::NEGATE, [of]) => Ok((Node::Minus(Box::new(self.number(of)?)), Kind::Number)),
            (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, _) => {
                Err(self.fault(node, "a point has no fields", "name the point itself in `points`"))
            }
            _ => self.function(node, call),
        }
    }

    fn binary(&mut self, node: &IdedExpr, sign: &str, a: &IdedExpr, b: &IdedExpr) -> Option<Checked> {
        let order = |order| move |both| (Node::Order(order, both), Kind::Bool);
        let sum = |sum| move |both| (Node::Sum(sum, both), Kind::Number);
        Some(match sign {
            operators::LOGICAL_AND => self.flags(a, b).map(|both| (Node::And(both), Kind::Bool)),
            operators::LOGICAL_OR => self.flags(a, b).map(|both| (Node::Or(both), Kind::Bool)),
            operators::EQUALS => self.same(node, a, b).map(|same| (same, Kind::Bool)),
            operators::NOT_EQUALS => {
                self.same(node, a, b).map(|same| (Node::Not(Box::new(same)), Kind::Bool))
            }
            operators::IN => self.among(node, a, b),
            operators::LESS => self.numbers(a, b).map(order(Order::Less)),
            operators::LESS_EQUALS => self.numbers(a, b).map(order(Order::LessOrSame)),
            operators::GREATER => self.numbers(a, b).map(order(Order::Greater)),
            operators::GREATER_EQUALS => self.numbers(a, b).map(order(Order::GreaterOrSame)),
            operators::ADD => self.numbers(a, b).map(sum(Sum::Plus)),
            operators::SUBSTRACT => self.numbers(a, b).map(sum(Sum::Minus)),
            operators::MULTIPLY => self.numbers(a, b).map(sum(Sum::Times)),
            operators::DIVIDE => self.numbers(a, b).map(sum(Sum::By)),
            operators::MODULO => self.numbers(a, b).map(sum(Sum::Rest)),
            _ => return None,
        })
    }

    fn flags(&mut self, a: &IdedExpr, b: &IdedExpr) -> Result<Box<[Node; 2]>, Fault> {
        Ok(Box::new([self.flag(a)?, self.flag(b)?]))
    }

    fn numbers(&mut self, a: &IdedExpr, b: &IdedExpr) -> Result<Box<[Node; 2]>, Fault> {
        Ok(Box::new([self.number(a)?, self.number(b)?]))
    }

    /// It has to be true or false.
    fn flag(&mut self, of: &IdedExpr) -> Result<Node, Fault> {
        match self.node(of)? {
            (node, Kind::Bool | Kind::Any) => Ok(node),
            (_, Kind::Number) => {
                Err(self.fault(of, "a number where true or false has to be", "compare it: `x > 0`"))
            }
            (_, _) => {
                Err(self.fault(of, "text where true or false has to be", "compare it: `state == \"open\"`"))
            }
        }
    }

    fn number(&mut self, of: &IdedExpr) -> Result<Node, Fault> {
        match self.node(of)? {
            (node, Kind::Number | Kind::Any) => Ok(node),
            (_, Kind::Bool) => {
                Err(self.fault(of, "true or false where a number has to be", "use `&&`, `||` or `!`"))
            }
            (_, _) => Err(self.fault(of, "text where a number has to be", "compare text with `==` or `!=`")),
        }
    }

    fn text(&mut self, of: &IdedExpr) -> Result<Node, Fault> {
        match self.node(of)? {
            (node, Kind::Text | Kind::Words(_) | Kind::Any) => Ok(node),
            _ => Err(self.fault(
                of,
                "text has to be here",
                "write it in quotes, or name a point that has text",
            )),
        }
    }

    fn same(&mut self, node: &IdedExpr, a: &IdedExpr, b: &IdedExpr) -> Result<Node, Fault> {
        let (left, right) = (self.node(a)?, self.node(b)?);
        self.comparable(node, (a, &left), (b, &right))?;
        Ok(Node::Same(Box::new([left.0, right.0])))
    }

    /// Whether the two can ever be the same.
    fn comparable(
        &self,
        node: &IdedExpr,
        (a, left): (&IdedExpr, &(Node, Kind)),
        (b, right): (&IdedExpr, &(Node, Kind)),
    ) -> Result<(), Fault> {
        match (&left.1, &right.1) {
            (Kind::Words(words), Kind::Text) => self.is_word(b, &right.0, words),
            (Kind::Text, Kind::Words(words)) => self.is_word(a, &left.0, words),
            (Kind::Any, _) | (_, Kind::Any) => Ok(()),
            (a, b) if plain(a) == plain(b) => Ok(()),
            (a, b) => {
                let what = format!("{} is never {}", plain(a), plain(b));
                Err(self.fault(node, what, "compare numbers with numbers, and text in quotes with text"))
            }
        }
    }

    fn is_word(&self, at: &IdedExpr, node: &Node, words: &[String]) -> Result<(), Fault> {
        let Node::Is(Value::Text(word)) = node else { return Ok(()) };
        if words.iter().any(|there| **there == **word) {
            return Ok(());
        }
        let (start, end) = self.place(at);
        let cure = Cure::Meant { word: word.to_string(), there_is: words.to_vec() };
        Err(Fault { at: start, length: end - start, what: format!("the point is never `{word}`"), cure })
    }

    fn among(&mut self, node: &IdedExpr, of: &IdedExpr, list: &IdedExpr) -> Checked {
        let Expr::List(list) = &list.expr else {
            return Err(self.fault(
                node,
                "`in` needs a list",
                "write it like `state in [\"open\", \"fault\"]`",
            ));
        };
        let left = self.node(of)?;
        let mut nodes = Vec::new();
        for element in &list.elements {
            let right = self.node(element)?;
            self.comparable(element, (of, &left), (element, &right))?;
            nodes.push(right.0);
        }
        Ok((Node::Among(Box::new(left.0), nodes), Kind::Bool))
    }

    fn choice(&mut self, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Checked {
        let condition = self.flag(condition)?;
        let (a, b) = (self.node(yes)?, self.node(no)?);
        let kind = if plain(&a.1) == plain(&b.1) { a.1 } else { Kind::Any };
        Ok((Node::Choice(Box::new([condition, a.0, b.0])), kind))
    }

    /// `size(name)`, `name.size()` and `math.abs(x)`.
    fn function(&mut self, node: &IdedExpr, call: &CallExpr) -> Checked {
        let target = call.target.as_deref();
        let math = target.filter(|target| matches!(&target.expr, Expr::Ident(name) if name == "math"));
        let name = match math {
            Some(_) => MATH.iter().find(|(theirs, _)| *theirs == call.func_name).map_or("", |(_, ours)| ours),
            None => &call.func_name,
        };
        let Some(&(_, function, least, most)) = FUNCTIONS.iter().find(|(there, ..)| *there == name) else {
            return Err(self.unknown(node, &call.func_name));
        };
        let args: Vec<&IdedExpr> = target.filter(|_| math.is_none()).into_iter().chain(&call.args).collect();
        if !(least..=most).contains(&args.len()) {
            let what = format!("`{name}` has {} arguments", args.len());
            let cure =
                if least == most { format!("give it {least}") } else { format!("give it {least} to {most}") };
            return Err(self.fault(node, what, cure));
        }
        let mut nodes = Vec::new();
        for arg in args {
            nodes.push(match function {
                Function::Size | Function::Contains | Function::StartsWith | Function::EndsWith => {
                    self.text(arg)?
                }
                Function::Double => self.node(arg)?.0,
                _ => self.number(arg)?,
            });
        }
        let kind = match function {
            Function::Contains | Function::StartsWith | Function::EndsWith => Kind::Bool,
            _ => Kind::Number,
        };
        Ok((Node::Call(function, nodes), kind))
    }

    /// The parser places a call at its bracket; the word is before it.
    fn unknown(&self, node: &IdedExpr, name: &str) -> Fault {
        let (bracket, _) = self.place(node);
        let at = self.text[..bracket].rfind(name).unwrap_or(bracket);
        let length = name.len().min(self.text.len() - at);
        let there_is = FUNCTIONS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let cure = Cure::Meant { word: name.to_owned(), there_is };
        Fault { at, length, what: format!("there is no function `{name}`"), cure }
    }
}

fn plain(kind: &Kind) -> &'static str {
    match kind {
        Kind::Number => "a number",
        Kind::Bool => "true or false",
        Kind::Text | Kind::Words(_) => "text",
        Kind::Any => "anything",
    }
}
