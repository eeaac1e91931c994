//! Operators that slide a window over rows and columns (or any number of spatial axes): `[N, C, …]` to `[N, C, …]`.

use super::elements;
use super::node::{Effect, Node};
use super::value::Value;
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::tensor_proto::DataType;
use anyhow::{Context, Result, bail, ensure};

/// Bytes that an engine stores for each position in a window: its offset, and where it is outside the image.
const BYTES_PER_PLACE: u64 = 64;

/// How a window moves; one number for each spatial axis.
struct Window {
    kernel: Vec<u64>,
    strides: Vec<u64>,
    dilations: Vec<u64>,
    /// Padding before the first element.
    begins: Vec<u64>,
    /// Padding after the last element.
    ends: Vec<u64>,
    /// `SAME_UPPER` or `SAME_LOWER`: the output extent is the input extent divided by the stride, rounded up.
    same: bool,
    ceil: bool,
}

impl Window {
    fn new(node: &Node, kernel: Vec<u64>) -> Result<Self> {
        let axes = kernel.len();
        let list = |name: &str, count: usize, least: i64| -> Result<Vec<u64>> {
            let Some(numbers) = node.ints(name)? else { return Ok(vec![least as u64; count]) };
            ensure!(numbers.len() == count, "{} {name} for {axes} spatial axes", numbers.len());
            ensure!(numbers.iter().all(|&number| number >= least), "{name} {numbers:?}: expected {least} or more");
            Ok(numbers.iter().map(|&number| number as u64).collect())
        };
        let (strides, dilations) = (list("strides", axes, 1)?, list("dilations", axes, 1)?);
        let mut begins = list("pads", 2 * axes, 0)?;
        let ends = begins.split_off(axes);
        let same = match node.text("auto_pad")?.unwrap_or(b"NOTSET") {
            b"NOTSET" | b"" => false,
            b"VALID" => {
                let none = vec![0; axes];
                return Ok(Self {
                    kernel,
                    strides,
                    dilations,
                    begins: none.clone(),
                    ends: none,
                    same: false,
                    ceil: false,
                });
            }
            b"SAME_UPPER" | b"SAME_LOWER" => true,
            other => {
                bail!("auto_pad {}: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER", String::from_utf8_lossy(other))
            }
        };
        Ok(Self { kernel, strides, dilations, begins, ends, same, ceil: node.int("ceil_mode", 0)? != 0 })
    }

    /// From the attribute `kernel_shape`.
    fn of_attribute(node: &Node) -> Result<Self> {
        let kernel = node.ints("kernel_shape")?.context("it lacks its kernel_shape")?;
        ensure!(kernel.iter().all(|&extent| extent > 0), "kernel_shape {kernel:?}: expected 1 or more");
        Self::new(node, kernel.iter().map(|&extent| extent as u64).collect())
    }

    /// Output extents for these spatial extents.
    fn output_extents(&self, spatial: &[u64]) -> Result<Vec<u64>> {
        ensure!(
            spatial.len() == self.kernel.len(),
            "a window of {:?} over the spatial extents {spatial:?}",
            self.kernel
        );
        let slide = |(axis, &extent): (usize, &u64)| {
            let stride = self.strides[axis];
            if self.same {
                return Ok(extent.div_ceil(stride));
            }
            let reach = (self.kernel[axis] - 1).saturating_mul(self.dilations[axis]);
            let begun = extent.saturating_add(self.begins[axis]);
            let (padded, span) = (begun.saturating_add(self.ends[axis]), reach.saturating_add(1));
            // With `ceil_mode`, a window may be larger than the image: Hugging Face's EfficientNet averages the whole image
            // with such a window.
            let fits = padded >= span || (self.ceil && span - padded < stride);
            ensure!(fits, "a window of {:?} is larger than the spatial extents {spatial:?}", self.kernel);
            let room = padded.saturating_sub(span);
            let last = if self.ceil { room.div_ceil(stride) } else { room / stride };
            // No window begins in the padding at the end.
            let inside = last.saturating_mul(stride) < begun;
            Ok(if self.ceil && !inside { last } else { last + 1 })
        };
        spatial.iter().enumerate().map(slide).collect()
    }

    fn places(&self) -> u64 {
        elements(&self.kernel)
    }
}

/// Splits a shape `[N, C, …]` into its parts.
fn image(value: &Value) -> Result<(u64, u64, &[u64])> {
    let [count, channels, spatial @ ..] = &value.shape[..] else { bail!("its input has the shape {:?}", value.shape) };
    Ok((*count, *channels, spatial))
}

pub(super) fn convolution(node: &Node) -> Result<Effect> {
    convolved(node, node.input(1)?, node.optional(2))
}

pub(super) fn integer_convolution(node: &Node) -> Result<Effect> {
    convolved(node, node.input(1)?, None)
}

/// The same, with scales and zero points among the inputs.
pub(super) fn quantized_convolution(node: &Node) -> Result<Effect> {
    convolved(node, node.input(3)?, node.optional(8))
}

fn convolved(node: &Node, weights: &Value, bias: Option<&Value>) -> Result<Effect> {
    let input = node.input(0)?;
    let (count, channels, spatial) = image(input)?;
    let (outputs, inputs, kernel) = image(weights)?;
    let groups = groups(node)?;
    let fits = channels == inputs.saturating_mul(groups) && outputs % groups == 0;
    ensure!(fits, "weights of {:?} in {groups} groups do not fit an input of {:?}", weights.shape, input.shape);
    ensure!(kernel.iter().all(|&extent| extent > 0), "its kernel is {kernel:?}: expected 1 or more");
    if let Some(bias) = bias {
        ensure!(bias.shape == [outputs], "a bias of {:?} for {outputs} channels", bias.shape);
    }
    if let Some(declared) = node.ints("kernel_shape")? {
        let agrees = declared.iter().map(|&extent| extent as u64).eq(kernel.iter().copied());
        ensure!(agrees, "kernel_shape {declared:?}, but weights of {:?}", weights.shape);
    }
    let window = Window::new(node, kernel.to_vec())?;
    let space = window.output_extents(spatial)?;
    let patch = inputs.saturating_mul(window.places());
    let value = Value::new(input.element, [&[count, outputs], &space[..]].concat());
    // An engine may copy the images' patches into a matrix. A depthwise convolution needs no such copy.
    let depthwise = inputs == 1 && groups > 1;
    let columns = [count, if depthwise { 1 } else { groups }, patch, elements(&space), 4];
    let scratch = elements(&columns).saturating_add(window.places().saturating_mul(BYTES_PER_PLACE));
    Ok(Effect { work: value.elements().saturating_mul(patch), scratch, outputs: vec![value] })
}

fn groups(node: &Node) -> Result<u64> {
    let groups = node.int("group", 1)?;
    ensure!(groups > 0, "{groups} groups: expected 1 or more");
    Ok(groups as u64)
}

pub(super) fn transposed_convolution(node: &Node) -> Result<Effect> {
    let (input, weights) = (node.input(0)?, node.input(1)?);
    let (count, channels, spatial) = image(input)?;
    let (inputs, outputs, kernel) = image(weights)?;
    let groups = groups(node)?;
    let fits = channels == inputs && inputs % groups == 0;
    ensure!(fits, "weights of {:?} in {groups} groups do not fit an input of {:?}", weights.shape, input.shape);
    ensure!(kernel.iter().all(|&extent| extent > 0), "its kernel is {kernel:?}: expected 1 or more");
    let window = Window::new(node, kernel.to_vec())?;
    ensure!(spatial.len() == kernel.len(), "a window of {kernel:?} over the spatial extents {spatial:?}");
    let extra = |name| match node.ints(name)? {
        Some(extents) if extents.len() == kernel.len() && extents.iter().all(|&extent| extent >= 0) => {
            Ok(Some(extents))
        }
        Some(extents) => bail!("{name} {extents:?} for the spatial extents {spatial:?}"),
        None => Ok(None),
    };
    let (declared, padding) = (extra("output_shape")?, extra("output_padding")?);
    let spread = |(axis, &extent): (usize, &u64)| match declared {
        Some(declared) => declared[axis] as u64,
        None if window.same => extent.saturating_mul(window.strides[axis]),
        None => extent
            .saturating_sub(1)
            .saturating_mul(window.strides[axis])
            .saturating_add((kernel[axis] - 1).saturating_mul(window.dilations[axis]))
            .saturating_add(padding.map_or(0, |padding| padding[axis] as u64))
            .saturating_add(1)
            .saturating_sub(window.begins[axis].saturating_add(window.ends[axis])),
    };
    let space: Vec<u64> = spatial.iter().enumerate().map(spread).collect();
    let value = Value::new(input.element, [&[count, outputs.saturating_mul(groups)], &space[..]].concat());
    let columns = elements(&[count, outputs, groups, window.places(), elements(spatial)]);
    let work = columns.saturating_mul(inputs / groups).saturating_add(value.elements());
    let scratch = columns.saturating_mul(4).saturating_add(window.places().saturating_mul(BYTES_PER_PLACE));
    Ok(Effect { work, scratch, outputs: vec![value] })
}

pub(super) fn pooling(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    ensure!(node.int("channels_last", 0)? == 0, "its channels come last: expected [N, C, …]");
    let (count, channels, spatial) = image(input)?;
    let window = Window::of_attribute(node)?;
    let space = window.output_extents(spatial)?;
    let value = Value::new(input.element, [&[count, channels], &space[..]].concat());
    let work = value.elements().saturating_mul(window.places());
    Ok(Effect { work, scratch: window.places().saturating_mul(BYTES_PER_PLACE), outputs: vec![value] })
}

pub(super) fn global_pooling(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    ensure!(node.int("channels_last", 0)? == 0, "its channels come last: expected [N, C, …]");
    let (count, channels, spatial) = image(input)?;
    let value = Value::new(input.element, [&[count, channels], &vec![1; spatial.len()][..]].concat());
    Ok(Effect { work: input.elements(), ..value.into() })
}

/// Local response normalisation: combines each number with its neighbours in other channels.
pub(super) fn local_response(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let (_, channels, _) = image(input)?;
    let size = node.int("size", 1)?;
    ensure!((1..=channels.saturating_mul(2) as i64 + 1).contains(&size), "size {size} for {channels} channels");
    Ok(Effect { work: input.elements().saturating_mul(size as u64), ..input.with_element(input.element).into() })
}

/// Numbers read for each one written: 16 for cubic interpolation, more with an anti-aliasing filter.
const NEIGHBOURS: u64 = 16;

/// `Resize`, and `Upsample` in older opsets: to sizes, or by scales.
pub(super) fn resize(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let upsample = node.proto.op_type == "Upsample";
    let scales = match (upsample, node.opset) {
        (true, ..9) => node
            .attribute("scales", AttributeType::Floats)?
            .map(|scales| scales.floats.iter().copied().map(f64::from).collect::<Vec<_>>()),
        (true, _) | (false, ..=10) => Some(node.numbers(1)?.to_vec()),
        _ => node.optional(2).map(|_| node.numbers(2)).transpose()?.map(<[f64]>::to_vec),
    };
    let policy = node.text("keep_aspect_ratio_policy")?.unwrap_or(b"stretch");
    ensure!(policy != b"not_smaller", "keep_aspect_ratio_policy not_smaller: expected stretch or not_larger");
    let axes = match node.ints("axes")? {
        Some(axes) => axes.iter().map(|&axis| input.axis(axis)).collect::<Result<Vec<_>>>()?,
        None => (0..input.shape.len()).collect(),
    };
    let mut shape = input.shape.clone();
    if let Some(scales) = scales.filter(|scales| !scales.is_empty()) {
        ensure!(scales.len() == axes.len(), "{} scales for {} axes", scales.len(), axes.len());
        for (axis, scale) in axes.into_iter().zip(scales) {
            ensure!(scale > 0.0 && scale.is_finite(), "scale {scale}: expected a number above 0");
            // The cast saturates: a number that is too large becomes the largest integer.
            // Engines multiply in f32.
            shape[axis] = (shape[axis] as f32 * scale as f32).floor() as u64;
        }
    } else {
        let sizes = node.integers(3)?;
        ensure!(sizes.len() == axes.len(), "{} sizes for {} axes", sizes.len(), axes.len());
        for (axis, size) in axes.into_iter().zip(sizes) {
            shape[axis] = u64::try_from(size).ok().with_context(|| format!("size {size}"))?;
        }
    }
    let value = Value::new(input.element, shape);
    let numbers = input.elements().saturating_add(value.elements());
    // Axes are resized one after the other, so a value in between may have the larger extent of each axis.
    let larger: Vec<u64> = input.shape.iter().zip(&value.shape).map(|(&one, &other)| one.max(other)).collect();
    let scratch = Value::new(DataType::Float, larger).bytes();
    Ok(Effect { work: numbers.saturating_mul(NEIGHBOURS), scratch, outputs: vec![value] })
}
