//! Counts the memory that a model file will take once it is decoded, before it is decoded: two bytes can encode an
//! attribute that takes a kilobyte in memory, and one byte of a packed list a number that takes eight.

use super::proto::tensor_shape_proto::Dimension;
use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorAnnotation, TensorProto, TrainingInfoProto, TypeProto, ValueInfoProto,
};
use anyhow::{Result, bail, ensure};
use prost::encoding::decode_varint;
use std::mem::size_of;

/// Most memory that the messages of a file may take beyond the file's own length: thirty times what the largest
/// quantized MobileNetV1 takes.
const MAX_OVERHEAD: u64 = 1 << 28;

/// How deeply messages may be nested. The decoder has the same limit.
const MAX_DEPTH: u32 = 100;

/// Memory of an element of a list of strings, or of messages that are not among those below.
const LIST_ENTRY: usize = size_of::<Vec<u8>>();

/// A message of the ONNX format.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    /// A sequence, a map or an optional: a type of another type.
    Container,
    Shape,
    Dimension,
    Entry,
    OperatorSet,
    Annotation,
    Training,
    Function,
}

/// What a field contains, as far as the memory depends on it.
enum Field {
    Message(Message),
    /// A list of numbers: this many bytes in memory for each byte in the file.
    Numbers(u64),
    /// A string, bytes, or a field that the decoder skips.
    Bytes,
}

impl Message {
    /// The field with this number, as in `proto`.
    fn field(self, number: u64) -> Field {
        let message = match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) | (Self::Training, 1 | 2) => Self::Graph,
            (Self::Model, 8) | (Self::Function, 9) => Self::OperatorSet,
            (Self::Model, 14) | (Self::Tensor, 13) | (Self::Training, 3 | 4) | (Self::Annotation, 2) => Self::Entry,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Graph, 14) => Self::Annotation,
            (Self::Node, 5) => Self::Attribute,
            (Self::ValueInfo, 2) | (Self::Attribute, 15) | (Self::Container, 1 | 2) => Self::Type,
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::Type, 4 | 5 | 9) => Self::Container,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Shape, 1) => Self::Dimension,
            (Self::Tensor, 1 | 7 | 11) | (Self::Attribute, 8) | (Self::SparseTensor, 3) => return Field::Numbers(8),
            (Self::Tensor, 5) => return Field::Numbers(4),
            _ => return Field::Bytes,
        };
        Field::Message(message)
    }

    /// Memory of one message.
    fn size(self) -> usize {
        match self {
            Self::Model => size_of::<ModelProto>(),
            Self::Graph => size_of::<GraphProto>(),
            Self::Node => size_of::<NodeProto>(),
            Self::Attribute => size_of::<AttributeProto>(),
            Self::Tensor => size_of::<TensorProto>(),
            Self::SparseTensor => size_of::<SparseTensorProto>(),
            Self::ValueInfo => size_of::<ValueInfoProto>(),
            Self::Type | Self::TensorType | Self::Container | Self::Shape => size_of::<TypeProto>(),
            Self::Dimension => size_of::<Dimension>(),
            Self::Entry => size_of::<StringStringEntryProto>(),
            Self::OperatorSet => size_of::<OperatorSetIdProto>(),
            Self::Annotation => size_of::<TensorAnnotation>(),
            Self::Training => size_of::<TrainingInfoProto>(),
            Self::Function => size_of::<FunctionProto>(),
        }
    }
}

/// Refuses a file whose messages would take far more memory than the file is long. The count ends where the file is not
/// a valid protobuf message: the decoder stops there too, and gives the reason.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let limit = bytes.len() as u64 + MAX_OVERHEAD;
    let mut count = Count { memory: 0, limit };
    count.message(Message::Model, bytes, 0).map(|_| ())
}

/// Whether the message was read to its end.
type Whole = bool;

struct Count {
    memory: u64,
    limit: u64,
}

impl Count {
    fn add(&mut self, memory: u64) -> Result<()> {
        self.memory = self.memory.saturating_add(memory);
        ensure!(
            self.memory <= self.limit,
            "its {} bytes unpack to more than {} in memory: expected at most {MAX_OVERHEAD} more than the file's length",
            self.limit - MAX_OVERHEAD,
            self.limit
        );
        Ok(())
    }

    fn message(&mut self, message: Message, mut bytes: &[u8], depth: u32) -> Result<Whole> {
        ensure!(depth <= MAX_DEPTH, "its messages are nested more than {MAX_DEPTH} deep");
        self.add(message.size() as u64)?;
        while !bytes.is_empty() {
            let Some(key) = decode_varint(&mut bytes).ok() else { return Ok(false) };
            match key & 7 {
                0 => {
                    if decode_varint(&mut bytes).is_err() {
                        return Ok(false);
                    }
                    self.add(size_of::<u64>() as u64)?;
                }
                1 | 5 => {
                    let length = if key & 7 == 1 { 8 } else { 4 };
                    let Some(rest) = bytes.get(length..) else { return Ok(false) };
                    bytes = rest;
                    self.add(length as u64)?;
                }
                2 => {
                    let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
                    let split = length.and_then(|length| bytes.split_at_checked(length));
                    let Some((content, rest)) = split else { return Ok(false) };
                    bytes = rest;
                    if !self.content(message.field(key >> 3), content, depth)? {
                        return Ok(false);
                    }
                }
                // The decoder would skip a group, but the count would miss what follows it.
                3 => bail!("it is not a complete ONNX model (protobuf): it contains a group, which ONNX does not use"),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn content(&mut self, field: Field, content: &[u8], depth: u32) -> Result<Whole> {
        match field {
            Field::Message(message) => return self.message(message, content, depth + 1),
            Field::Numbers(each) => self.add(each * content.len() as u64)?,
            Field::Bytes => self.add((LIST_ENTRY + content.len()) as u64)?,
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    /// A length-delimited field of number `number`.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        [bytes, content.to_vec()].concat()
    }

    #[test]
    fn a_file_that_unpacks_to_a_hundred_times_its_length_is_refused() {
        // A graph of one node with a million empty attributes, and one of a million empty nodes.
        let attributes = field(7, &field(1, &field(5, b"").repeat(1_000_000)));
        let nodes = field(7, &field(1, b"").repeat(3_000_000));
        let numbers = field(7, &field(5, &field(7, &vec![1; 1 << 26])));
        for bytes in [attributes, nodes, numbers] {
            let message = check(&bytes).unwrap_err().to_string();
            assert!(message.contains(&format!("its {} bytes unpack to more than", bytes.len())), "{message}");
        }
        check(&field(7, &field(5, &field(9, &vec![1; 1 << 26])))).unwrap();
    }

    #[test]
    fn nesting_and_groups_are_refused() {
        let mut graph = field(1, b"");
        for _ in 0..60 {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        let deep = field(7, &graph);
        assert!(check(&deep).unwrap_err().to_string().contains("100 deep"));
        assert!(ModelProto::decode(&*deep).is_err(), "the decoder has no limit of its own");
        assert!(check(&[0x3b, 0x3c]).unwrap_err().to_string().contains("a group"));
    }

    /// The count covers everything that the decoder creates.
    #[test]
    fn no_message_that_is_decoded_escapes_the_count() {
        let whole = |bytes: &[u8]| {
            let mut count = Count { memory: 0, limit: u64::MAX };
            count.message(Message::Model, bytes, 0).unwrap()
        };
        let model = include_bytes!("../../pretrained/mnist-quick.onnx");
        assert!(whole(model));
        assert!(!whole(&model[..model.len() - 1]));
    }
}
