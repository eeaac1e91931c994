//! What a run of a graph needs, estimated before the run.

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

/// The most that one run of a model needs.
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
    /// Shape of each output of the graph.
    pub outputs: BTreeMap<String, Vec<u64>>,
}

impl Footprint {
    /// Computes the shapes in a graph that passed [`super::check`], for this batch size if the file leaves it open.
    /// Fails if the graph exceeds a limit, or if the shape of a value cannot be computed.
    pub fn estimate(model: &ModelProto, batch: usize, limits: &Limits) -> Result<Self> {
        let mut run = Run::new(limits);
        run.follow(model, batch)?;
        Ok(run.footprint)
    }
}

/// Indices of the nodes, sorted so that each node comes after those that compute its inputs: not every tool writes them
/// in such an order.
fn order(graph: &GraphProto) -> Result<Vec<usize>> {
    let mut producers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        producers.extend(node.output.iter().map(|name| (name.as_str(), index)));
    }
    let mut consumers = vec![Vec::new(); graph.node.len()];
    let mut missing = vec![0_usize; graph.node.len()];
    for (index, node) in graph.node.iter().enumerate() {
        let inputs = node.input.iter().filter(|name| !name.is_empty());
        for producer in inputs.filter_map(|name| producers.get(name.as_str())) {
            consumers[*producer].push(index);
            missing[index] += 1;
        }
    }
    let mut order = Vec::with_capacity(graph.node.len());
    let mut ready: BinaryHeap<_> = (0..missing.len()).filter(|&index| missing[index] == 0).map(Reverse).collect();
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &consumer in &consumers[index] {
            missing[consumer] -= 1;
            if missing[consumer] == 0 {
                ready.push(Reverse(consumer));
            }
        }
    }
    let left = missing.iter().position(|&missing| missing > 0).map(|index| &graph.node[index]);
    if let Some(NodeProto { op_type, name, .. }) = left {
        bail!("its {op_type} node '{name}' depends on its own output");
    }
    Ok(order)
}

/// For each value, the position of the last node that uses it. Outputs of the graph are still in use after the end.
fn last_uses<'a>(graph: &'a GraphProto, order: &[usize]) -> HashMap<&'a str, usize> {
    let mut uses = HashMap::new();
    for (time, &index) in order.iter().enumerate() {
        uses.extend(graph.node[index].input.iter().map(|name| (name.as_str(), time)));
    }
    uses.extend(graph.output.iter().map(|output| (output.name.as_str(), usize::MAX)));
    uses
}

/// Follows a run, and computes shapes and small lists of numbers only.
pub(super) struct Run<'a> {
    limits: &'a Limits,
    values: HashMap<&'a str, Value>,
    /// Bytes of the values that are not constants.
    alive: u64,
    /// The values of nodes whose numbers are known. `None` if nobody needs them.
    pub known: Option<BTreeMap<&'a str, Value>>,
    footprint: Footprint,
}

impl<'a> Run<'a> {
    pub fn new(limits: &'a Limits) -> Self {
        Self { limits, values: HashMap::new(), alive: 0, known: None, footprint: Footprint::default() }
    }

    /// Follows a graph for this batch size.
    pub fn follow(&mut self, model: &'a ModelProto, batch: usize) -> Result<()> {
        let graph = model.graph.as_ref().context("it has no graph")?;
        let opset = onnx::opset(model).context("it does not say which opset it uses")?;
        let images = self.begin(graph, batch as u64)?;
        let limits = self.limits;
        let order = order(graph)?;
        let uses = last_uses(graph, &order);
        for (time, &index) in order.iter().enumerate() {
            let node = &graph.node[index];
            let described = || format!("its {} node '{}' (number {index}) is refused", node.op_type, node.name);
            self.step(node, opset).with_context(described)?;
            let work = self.footprint.multiply_adds;
            let most = limits.multiply_adds.min(limits.multiply_adds_per_image.saturating_mul(images));
            ensure!(
                work <= most,
                "up to its {} node '{}' (number {index}) it asks for {work} multiply-adds for {images} images: \
                 expected at most {most}",
                node.op_type,
                node.name
            );
            self.end(node, time, &uses);
        }
        for output in &graph.output {
            let value = self.values.get(output.name.as_str());
            let value = value.with_context(|| format!("no node computes its output '{}'", output.name))?;
            self.footprint.outputs.insert(output.name.clone(), value.shape.clone());
        }
        Ok(())
    }

    /// Adds the values that exist before the first node, and returns the number of images.
    fn begin(&mut self, graph: &'a GraphProto, batch: u64) -> Result<u64> {
        for tensor in &graph.initializer {
            let checked = tensors::check(tensor, self.limits);
            let (element, shape) = checked.map_err(|error| anyhow!("its tensor '{}' {error}", tensor.name))?;
            let value = Value { constant: true, ..Value::new(element, shape) };
            let few = value.elements() <= super::value::MAX_NUMBERS as u64;
            let numbers = if few { tensors::numbers(tensor, element) } else { None };
            self.add(&tensor.name, value.with(numbers))?;
        }
        let mut images = 1;
        for input in &graph.input {
            if !self.values.contains_key(input.name.as_str()) {
                let value = given(input, batch)?;
                images = value.shape.first().copied().unwrap_or(1).max(1);
                self.add(&input.name, value).with_context(|| format!("its input '{}' is refused", input.name))?;
            }
        }
        Ok(images)
    }

    /// Adds a value. Fails if it exceeds a limit.
    fn add(&mut self, name: &'a str, value: Value) -> Result<()> {
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
        self.record_memory(0)
    }

    /// Records the memory in use now, plus `scratch` bytes. Fails if it exceeds the limit.
    fn record_memory(&mut self, scratch: u64) -> Result<()> {
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
            format!(
                "the output shape of the operator {name} is not known before a run: it might need any amount of memory"
            )
        })?;
        let mut inputs = Vec::new();
        for name in &proto.input {
            let value = self.values.get(name.as_str());
            ensure!(name.is_empty() || value.is_some(), "it has the input '{name}', which no node computes");
            inputs.push(value);
        }
        let node = Node { proto, inputs, opset, limits: self.limits };
        node.check_attributes()?;
        let Effect { outputs, work, scratch } = rule(&node)?;
        // Engines know the output of `Shape` and `Size` when they load the file, even if the input is not constant.
        let constant = node.given().all(|input| input.constant) || matches!(&**op_type, "Shape" | "Size");
        let spare = outputs.first().context("it has no outputs")?.with_element(DataType::Int64);
        self.footprint.multiply_adds = self.footprint.multiply_adds.saturating_add(work);
        for (name, value) in proto.output.iter().zip(outputs.into_iter().chain(iter::repeat(spare))) {
            if !name.is_empty() {
                if let Some(known) = self.known.as_mut().filter(|_| value.numbers.is_some()) {
                    known.insert(name, value.clone());
                }
                self.add(name, Value { constant, ..value })?;
            }
        }
        self.record_memory(scratch)
    }

    /// Frees the values that no later node uses.
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

/// An input of the graph. `batch` replaces an open first extent.
fn given(input: &ValueInfoProto, batch: u64) -> Result<Value> {
    let info = tensor_info(input);
    let kind = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(Type::TensorType(tensor)) = kind else { bail!("its input is {info}: expected a tensor") };
    let (element, _) =
        tensors::element(tensor.elem_type).map_err(|error| anyhow!("its input '{}' {error}", input.name))?;
    let shape = info.shape.as_ref().with_context(|| format!("its input is {info}: expected a known rank"))?;
    let extents = shape.iter().enumerate().map(|(axis, extent)| match (axis, extent) {
        (_, Some(extent)) => Ok(*extent as u64),
        (0, None) => Ok(batch),
        _ => Err(anyhow!("its input is {info}: expected only the first extent to be open")),
    });
    Ok(Value::new(element, extents.collect::<Result<_>>()?))
}
