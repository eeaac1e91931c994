//! Compares every instruction set with sums written out.

use super::super::chain::Scaled;
use super::integers::constants;
use super::rescaling::Rescaling;
use super::*;
use models::fingerprint::Fingerprint;

/// Pseudo-random numbers that are the same in every run.
struct Random(Fingerprint);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.and(b"next");
        (self.0.spread() >> 11) as usize % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        // The extremes are where sums could overflow.
        (0..count).map(|_| [0, 255, self.below(256) as u8, self.below(256) as u8][self.below(4)]).collect()
    }
}

/// A convolution with its input.
#[derive(Debug)]
struct Case {
    convolution: Convolution,
    /// Channels, rows and columns.
    input: [usize; 3],
    output: [usize; 3],
    /// `[C, H, W]`.
    bytes: Vec<u8>,
    ranges: [Range; 2],
}

impl Case {
    /// A random convolution with weights up to `largest`, depthwise or dense.
    fn new(random: &mut Random, largest: i8, depthwise: bool) -> Self {
        let kernel = if depthwise { 3 } else { [1, 1, 2, 3][random.below(4)] };
        let (stride, padding) = (1 + random.below(2), random.below(kernel));
        let channels = [1 + random.below(5), 1 + random.below(70)][random.below(2)];
        let input = [channels, kernel + random.below(9), kernel + random.below(12)];
        let outputs = if depthwise { channels } else { 1 + random.below(90) };
        let extent = |extent: usize| (extent + 2 * padding - kernel) / stride + 1;
        let output = [outputs, extent(input[1]), extent(input[2])];
        let (groups, inputs_per_group) = if depthwise { (channels, 1) } else { (1, channels) };
        let range =
            |random: &mut Random| Range { scale: 0.01 + random.below(100) as f32 / 977.0, zero: random.bytes(1)[0] };
        let ranges = [range(random), range(random)];
        let scales: Vec<f32> = (0..outputs).map(|_| 0.001 + random.below(100) as f32 / 50_021.0).collect();
        let weight = |_| {
            let any = random.below(2 * largest as usize + 1) as i32 - i32::from(largest);
            [any as i8, largest, -largest][random.below(3)]
        };
        let weights = (0..outputs * inputs_per_group * kernel * kernel).map(weight).collect();
        let summed = scales.iter().map(|scale| scale * ranges[0].scale).collect();
        let bias = (0..outputs).map(|_| random.below(20_000) as i32 - 10_000).collect();
        let convolution = Convolution {
            weights: Numbers::Bytes(Scaled { values: weights, scales }),
            inputs_per_group,
            bias: Numbers::Integers(Scaled { values: bias, scales: summed }),
            kernel,
            stride,
            padding,
            groups,
            clamp: [f32::NEG_INFINITY, f32::INFINITY],
        };
        let bytes = random.bytes(input.iter().product());
        Self { convolution, input, output, bytes, ranges }
    }

    /// The bytes of the output `[C, H, W]`, from the definition of the ONNX operators: padding stands for 0.
    fn expected(&self) -> Vec<u8> {
        let Self { convolution, input: [_, height, width], output: [outputs, rows, columns], .. } = self;
        let &Convolution { kernel, stride, padding, groups, inputs_per_group, .. } = convolution;
        let (Numbers::Bytes(weights), Numbers::Integers(bias)) = (&convolution.weights, &convolution.bias) else {
            unreachable!()
        };
        let [taken, given] = self.ranges;
        let mut expected = Vec::new();
        for output in 0..*outputs {
            for (row, column) in (0..*rows).flat_map(|row| (0..*columns).map(move |column| (row, column))) {
                let mut sum = bias.values[output];
                for tap in 0..inputs_per_group * kernel * kernel {
                    let (channel, y, x) = (tap / (kernel * kernel), tap / kernel % kernel, tap % kernel);
                    let (y, x) = (row * stride + y, column * stride + x);
                    if (padding..padding + height).contains(&y) && (padding..padding + width).contains(&x) {
                        let channel = output / (outputs / groups) * inputs_per_group + channel;
                        let q = self.bytes[(channel * height + y - padding) * width + x - padding];
                        let weight = weights.values[output * inputs_per_group * kernel * kernel + tap];
                        sum += (i32::from(q) - i32::from(taken.zero)) * i32::from(weight);
                    }
                }
                let rescaling = Rescaling::new(&[weights.scales[output] * taken.scale], given).unwrap();
                expected.push(rescaling.byte(0, sum));
            }
        }
        expected
    }

    /// The bytes of the output as an instruction set computes them.
    fn found(&self, instructions: Instructions, border: usize, parts: usize) -> Vec<u8> {
        let layout = if self.convolution.groups == 1 { Layout::image } else { Layout::new };
        let taken = layout(self.input, self.convolution.padding).unwrap();
        let given = Layout::new(self.output, border).unwrap();
        let [range, rounded] = self.ranges;
        // The padding of the channels has no influence.
        let mut input = vec![0xAA; taken.len()];
        taken.surround(&mut input, range.zero);
        let [channels, height, width] = self.input;
        let pitch = taken.pitch();
        for (place, &byte) in self.bytes.iter().enumerate() {
            let (channel, row, column) = (place / (height * width), place / width % height, place % width);
            assert!(channel < channels);
            taken.rows_mut(&mut input)[row * pitch + (taken.border + column) * taken.depth + channel] = byte;
        }
        let layouts = Layouts { input: taken, output: given };
        let kernel = instructions.kernel(&self.convolution, layouts, (range, rounded)).unwrap();
        let mut output = vec![0xBB_u8; given.len()];
        given.surround(&mut output, kernel.0.zero());
        for part in (0..parts).rev() {
            kernel.0.compute(&input, Shared::new(&mut output), part, parts);
        }
        let zeros = output.iter().take(given.border * given.pitch()).all(|&byte| byte == rounded.zero);
        assert!(zeros, "the border stands for 0");
        let [channels, ..] = self.output;
        let pixels: Vec<&[u8]> = given.rows(&output).flat_map(|row| row.chunks_exact(given.depth)).collect();
        (0..channels).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel])).collect()
    }
}

/// Convolutions of random shapes are those of the definition, in every bit.
fn check(name: &str, largest: i8, depthwise: bool) {
    let mut random = Random(Fingerprint::default().and(name.as_bytes()));
    for number in 0..80 {
        let case = Case::new(&mut random, largest, depthwise);
        let expected = case.expected();
        for instructions in Instructions::available() {
            let found = case.found(instructions, random.below(3), 1 + random.below(4));
            assert!(found == expected, "{instructions:?}, case {number}: {:?} -> {:?}", case.input, case.output);
        }
    }
}

#[test]
fn dense_convolutions_are_those_of_the_definition() {
    check("dense", 64, false);
}

#[test]
fn large_weights_do_not_overflow() {
    check("large", 127, false);
}

#[test]
fn depthwise_convolutions_are_those_of_the_definition() {
    check("depthwise", 127, true);
}

#[test]
fn what_might_overflow_or_is_not_stored_in_integers_is_refused() {
    let mut random = Random(Fingerprint::default());
    let whole = |case: &Case| constants(&case.convolution, case.ranges[0], case.ranges[1]).is_some();
    let mut case = Case::new(&mut random, 64, true);
    assert!(whole(&case));
    case.convolution.clamp = [0.0, 6.0];
    assert!(!whole(&case));
    for change in [
        (|weights, _| weights[0] = i8::MIN) as fn(&mut Vec<i8>, &mut Scaled<i32>),
        |_, bias| bias.values[0] = i32::MAX - 1000,
        |_, bias| bias.scales[0] *= 2.0,
        |_, bias| _ = bias.values.pop(),
    ] {
        let mut case = Case::new(&mut random, 64, true);
        let (Numbers::Bytes(weights), Numbers::Integers(bias)) =
            (&mut case.convolution.weights, &mut case.convolution.bias)
        else {
            unreachable!()
        };
        change(&mut weights.values, bias);
        assert!(!whole(&case));
    }
    let mut case = Case::new(&mut random, 64, true);
    case.convolution.bias = Numbers::Floats(vec![0.5; case.output[0]]);
    assert!(!whole(&case));
}

/// Convolutions in floats are those of the integers that the floats stand for.
#[test]
fn float_convolutions_are_those_of_the_definition() {
    let mut random = Random(Fingerprint::default().and(b"floats"));
    for number in 0..80 {
        let mut case = Case::new(&mut random, 64, number % 2 == 0);
        let zero = case.ranges[0].zero;
        // Steps of 1 and sums of some thousands are exact.
        case.ranges = [Range { scale: 1.0, zero }, Range { scale: 64.0, zero: 128 }];
        let (Numbers::Bytes(weights), Numbers::Integers(bias)) =
            (&mut case.convolution.weights, &mut case.convolution.bias)
        else {
            unreachable!()
        };
        weights.scales.fill(1.0);
        bias.scales.fill(1.0);
        let expected = case.expected();
        let mut convolution = case.convolution.clone();
        convolution.weights = Numbers::Floats(convolution.weights.floats());
        convolution.bias = Numbers::Floats(convolution.bias.floats());
        let layout = if convolution.groups == 1 { Layout::image } else { Layout::new };
        let input = layout(case.input, convolution.padding).unwrap();
        let output = Layout::new(case.output, 1).unwrap();
        let floats: Vec<f32> = case.bytes.iter().map(|&byte| f32::from(byte) - f32::from(zero)).collect();
        for lane in Lane::available() {
            let Some(kernel) = super::floats(&convolution, Layouts { input, output }, &[lane]) else { continue };
            let mut taken = tensor1(&vec![f32::NAN; input.len()]);
            Interleaved { layout: input }.run(&tensor1(&floats), &mut taken).unwrap();
            let mut given = tensor1(&vec![f32::NAN; output.len()]);
            kernel.run(&taken, &mut given).unwrap();
            let mut planes = tensor1(&vec![f32::NAN; expected.len()]);
            Planes { layout: output }.run(&given, &mut planes).unwrap();
            let rescaling = Rescaling::new(&[1.0], case.ranges[1]).unwrap();
            let found: Vec<u8> =
                numbers::<f32>(&planes).unwrap().iter().map(|&sum| rescaling.byte(0, sum as i32)).collect();
            assert!(found == expected, "{lane:?}, case {number}: {:?} -> {:?}", case.input, case.output);
        }
    }
}

#[test]
fn layouts_that_do_not_fit_are_refused() {
    let mut random = Random(Fingerprint::default());
    let case = Case::new(&mut random, 64, true);
    let layouts = Layouts {
        input: Layout::new(case.input, case.convolution.padding).unwrap(),
        output: Layout::new(case.output, 0).unwrap(),
    };
    let fits = |change: fn(&mut Layouts, &mut Convolution)| {
        let (mut layouts, mut convolution) = (layouts, case.convolution.clone());
        change(&mut layouts, &mut convolution);
        layouts.fit(&convolution)
    };
    assert!(fits(|_, _| ()));
    assert!(!fits(|layouts, _| layouts.output.rows += 9));
    assert!(!fits(|layouts, _| layouts.output.columns += 9));
    assert!(!fits(|layouts, _| layouts.output.channels += 1));
    assert!(!fits(|layouts, _| layouts.input.border += 1));
    assert!(!fits(|_, convolution| convolution.kernel += 1));
    assert!(!fits(|_, convolution| convolution.inputs_per_group += 1));
    assert!(!fits(|layouts, convolution| (layouts.input.channels, convolution.inputs_per_group) = (0, 0)));
}
