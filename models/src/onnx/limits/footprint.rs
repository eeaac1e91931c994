//! What a run of a graph takes, told before it.

use super::node::{Effect, Node};
use super::value::Value;
use super::{Limits, rules, tensors};
use crate::onnx::proto::tensor_proto::DataType;
use crate::onnx::proto::type_proto::Value as Type;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::onnx::{self, tensor_info};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::iter;

/// What one run of a model takes, at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of all constants; see [`Limits::constants`].
    pub constants: u64,
    /// Bytes alive at once, constants included.
    pub memory: u64,
    /// Bytes of all values together.
    pub values: u64,
    /// Multiply-adds.
    pub multiply_adds: u64,
    /// Shape of each of the graph's outputs.
    pub outputs: BTreeMap<String, Vec<u64>>,
}

impl Footprint {
    /// Follows the shapes of a graph that passed [`super::check`], for so many images at once where the file leaves
    /// that open. A graph beyond the limits is an error, and so is one that cannot be followed.
    pub fn estimate(model: &ModelProto, batch: usize, limits: &Limits) -> Result<Self> {
        let graph = model.graph.as_ref().context("it has no graph")?;
        let opset = onnx::opset(model).context("it does not say which opset it uses")?;
        let mut run = Run { limits, values: HashMap::new(), alive: 0, footprint: Self::default() };
        let images = run.begin(graph, batch as u64)?;
        let order = order(graph)?;
        let uses = last_uses(graph, &order);
        for (time, &index) in order.iter().enumerate() {
            let node = &graph.node[index];
            let described = || format!("its {} node '{}' (number {index}) is refused", node.op_type, node.name);
            run.step(node, opset).with_context(described)?;
            let work = run.footprint.multiply_adds;
            let most = limits.multiply_adds.min(limits.multiply_adds_per_image.saturating_mul(images));
            ensure!(
                work <= most,
                "up to its {} node '{}' (number {index}) it asks for {work} multiply-adds for {images} images: \
                 expected at most {most}",
                node.op_type,
                node.name
            );
            run.end(node, time, &uses);
        }
        for output in &graph.output {
            let value = run.values.get(output.name.as_str());
            let value = value.with_context(|| format!("its output '{}' is one that nothing makes", output.name))?;
            run.footprint.outputs.insert(output.name.clone(), value.shape.clone());
        }
        Ok(run.footprint)
    }
}

/// The nodes in an order in which each comes after those it takes from: not every tool writes them so.
fn order(graph: &GraphProto) -> Result<Vec<usize>> {
    let mut makers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        makers.extend(node.output.iter().map(|name| (name.as_str(), index)));
    }
    let mut takers = vec![Vec::new(); graph.node.len()];
    let mut missing = vec![0_usize; graph.node.len()];
    for (index, node) in graph.node.iter().enumerate() {
        for maker in node.input.iter().filter(|name| !name.is_empty()).filter_map(|name| makers.get(name.as_str())) {
            takers[*maker].push(index);
            missing[index] += 1;
        }
    }
    let mut order = Vec::with_capacity(graph.node.len());
    let mut ready: BinaryHeap<_> = (0..missing.len()).filter(|&index| missing[index] == 0).map(Reverse).collect();
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &taker in &takers[index] {
            missing[taker] -= 1;
            if missing[taker] == 0 {
                ready.push(Reverse(taker));
            }
        }
    }
    let left = missing.iter().position(|&missing| missing > 0).map(|index| &graph.node[index]);
    if let Some(NodeProto { op_type, name, .. }) = left {
        bail!("its {op_type} node '{name}' takes what is made of its own output");
    }
    Ok(order)
}

/// For each value the time of the last node that takes it; outputs of the graph are taken after the end.
fn last_uses<'a>(graph: &'a GraphProto, order: &[usize]) -> HashMap<&'a str, usize> {
    let mut uses = HashMap::new();
    for (time, &index) in order.iter().enumerate() {
        uses.extend(graph.node[index].input.iter().map(|name| (name.as_str(), time)));
    }
    uses.extend(graph.output.iter().map(|output| (output.name.as_str(), usize::MAX)));
    uses
}

struct Run<'a> {
    limits: &'a Limits,
    values: HashMap<&'a str, Value>,
    /// Bytes of the values that are no constants.
    alive: u64,
    footprint: Footprint,
}

impl<'a> Run<'a> {
    /// Enters what is there before the first node, and yields the number of images.
    fn begin(&mut self, graph: &'a GraphProto, batch: u64) -> Result<u64> {
        for tensor in &graph.initializer {
            let checked = tensors::check(tensor, self.limits);
            let (element, shape) = checked.map_err(|error| anyhow!("its tensor '{}' {error}", tensor.name))?;
            let value = Value { constant: true, ..Value::new(element, shape) };
            let few = value.elements() <= super::value::MAX_NUMBERS as u64;
            let numbers = if few { tensors::numbers(tensor, element) } else { None };
            self.enter(&tensor.name, value.with(numbers))?;
        }
        let mut images = 1;
        for input in &graph.input {
            if !self.values.contains_key(input.name.as_str()) {
                let value = given(input, batch)?;
                images = value.shape.first().copied().unwrap_or(1).max(1);
                self.enter(&input.name, value).with_context(|| format!("its input '{}' is refused", input.name))?;
            }
        }
        Ok(images)
    }

    /// A new value: within the limits, or an error that says which it breaks.
    fn enter(&mut self, name: &'a str, value: Value) -> Result<()> {
        let (shape, most) = (&value.shape, self.limits.elements);
        ensure!(value.elements() <= most, "'{name}' has the shape {shape:?}: expected at most {most} numbers");
        let bytes = value.bytes();
        if value.constant {
            self.footprint.constants = self.footprint.constants.saturating_add(bytes);
            let (constants, most) = (self.footprint.constants, self.limits.constants);
            ensure!(constants <= most, "with '{name}' its constants take {constants} bytes: expected at most {most}");
        } else {
            self.alive = self.alive.saturating_add(bytes);
        }
        self.footprint.values = self.footprint.values.saturating_add(bytes);
        let (values, most) = (self.footprint.values, self.limits.values);
        ensure!(values <= most, "with '{name}' its values take {values} bytes: expected at most {most}");
        self.values.insert(name, value);
        self.takes(0)
    }

    /// Notes what is alive now, with so many bytes more.
    fn takes(&mut self, scratch: u64) -> Result<()> {
        let memory = self.footprint.constants.saturating_add(self.alive).saturating_add(scratch);
        self.footprint.memory = self.footprint.memory.max(memory);
        let most = self.limits.memory;
        ensure!(memory <= most, "{memory} bytes would be alive at once: expected at most {most}");
        Ok(())
    }

    /// Follows one node.
    fn step(&mut self, proto: &'a NodeProto, opset: i64) -> Result<()> {
        let NodeProto { op_type, domain, .. } = proto;
        let rule = rules::find(domain, op_type).with_context(|| {
            let name = if domain.is_empty() { op_type.clone() } else { format!("{domain}.{op_type}") };
            format!("what the operator {name} yields cannot be told before a run: it might take any amount of memory")
        })?;
        let mut inputs = Vec::new();
        for name in &proto.input {
            let value = self.values.get(name.as_str());
            ensure!(name.is_empty() || value.is_some(), "it takes '{name}', which nothing makes");
            inputs.push(value);
        }
        let node = Node { proto, inputs, opset, limits: self.limits };
        node.counts_little()?;
        let Effect { outputs, work, scratch } = rule(&node)?;
        // A shape is known when the file is loaded, whatever it is of.
        let constant = node.given().all(|input| input.constant) || matches!(&**op_type, "Shape" | "Size");
        let spare = outputs.first().context("it yields nothing")?.with_element(DataType::Int64);
        self.footprint.multiply_adds = self.footprint.multiply_adds.saturating_add(work);
        for (name, value) in proto.output.iter().zip(outputs.into_iter().chain(iter::repeat(spare))) {
            if !name.is_empty() {
                self.enter(name, Value { constant, ..value })?;
            }
        }
        self.takes(scratch)
    }

    /// Lets go of what no later node takes.
    fn end(&mut self, node: &'a NodeProto, time: usize, uses: &HashMap<&str, usize>) {
        for name in node.input.iter().chain(&node.output) {
            if uses.get(name.as_str()).is_none_or(|&last| last <= time)
                && let Some(value) = self.values.remove(name.as_str())
                && !value.constant
            {
                self.alive -= value.bytes();
            }
        }
    }
}

/// An input of the graph, with `batch` for an open first extent.
fn given(input: &ValueInfoProto, batch: u64) -> Result<Value> {
    let info = tensor_info(input);
    let kind = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(Type::TensorType(tensor)) = kind else { bail!("its input is {info}: expected a tensor") };
    let (element, _) =
        tensors::element(tensor.elem_type).map_err(|error| anyhow!("its input '{}' {error}", input.name))?;
    let shape = info.shape.as_ref().with_context(|| format!("its input is {info}: expected its number of axes"))?;
    let extents = shape.iter().enumerate().map(|(axis, extent)| match (axis, extent) {
        (_, Some(extent)) => Ok(*extent as u64),
        (0, None) => Ok(batch),
        _ => Err(anyhow!("its input is {info}: expected only the first extent to be open")),
    });
    Ok(Value::new(element, extents.collect::<Result<_>>()?))
}
