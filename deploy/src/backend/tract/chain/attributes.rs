//! A node's attributes.

use super::{Reading, foreign};
use models::onnx::proto::attribute_proto::AttributeType;
use models::onnx::proto::{AttributeProto, NodeProto};

/// Reads a node's attributes by name and type.
pub(super) struct Attributes<'a>(pub &'a NodeProto);

impl<'a> Attributes<'a> {
    /// Errors if the node has any other attribute: an unknown one might change what the node means.
    pub fn only(&self, known: &[&str]) -> Reading<()> {
        match self.0.attribute.iter().find(|attribute| !known.contains(&attribute.name.as_str())) {
            Some(other) => foreign(format!("it has the attribute '{}'", other.name)),
            None => Ok(()),
        }
    }

    fn find(&self, name: &str, kind: AttributeType) -> Reading<Option<&'a AttributeProto>> {
        match self.0.attribute.iter().find(|attribute| attribute.name == name) {
            Some(found) if found.r#type != kind as i32 => foreign(format!("its attribute '{name}' has the wrong type")),
            found => Ok(found),
        }
    }

    pub fn integer(&self, name: &str) -> Reading<Option<i64>> {
        Ok(self.find(name, AttributeType::Int)?.map(|attribute| attribute.i.unwrap_or(0)))
    }

    pub fn text(&self, name: &str) -> Reading<Option<&'a [u8]>> {
        Ok(self.find(name, AttributeType::String)?.map(|attribute| attribute.s.as_slice()))
    }

    /// The value of a list in which all numbers are equal.
    pub fn all(&self, name: &str) -> Reading<Option<usize>> {
        let Some(attribute) = self.find(name, AttributeType::Ints)? else { return Ok(None) };
        let first = attribute.ints.first().and_then(|&first| usize::try_from(first).ok());
        match first {
            Some(first) if attribute.ints.iter().all(|&other| other == first as i64) => Ok(Some(first)),
            _ => foreign(format!("its {name} are {:?}: expected the same on all sides", attribute.ints)),
        }
    }
}
