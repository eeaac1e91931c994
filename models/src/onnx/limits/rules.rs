//! The operators whose output shapes are known before a run, each with its rule: all that image classifiers use.

use super::node::{Effect, Node};
use super::{elementwise, layout, products, windows};
use anyhow::Result;

/// Computes a node's output shapes and cost from what is known about its inputs.
pub(super) type Rule = fn(&Node) -> Result<Effect>;

/// The rule for an operator, or `None` for an unknown operator.
pub(super) fn find(domain: &str, operator: &str) -> Option<Rule> {
    match domain {
        "" | "ai.onnx" => standard(operator),
        "com.microsoft" => microsoft(operator),
        _ => None,
    }
}

#[allow(clippy::too_many_lines)] // A list.
fn standard(operator: &str) -> Option<Rule> {
    let rule: Rule = match operator {
        "Abs"
        | "Acos"
        | "Acosh"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "BitwiseNot"
        | "Celu"
        | "Cos"
        | "Cosh"
        | "CumSum"
        | "Elu"
        | "Erf"
        | "Exp"
        | "Gelu"
        | "GroupNormalization"
        | "HardSigmoid"
        | "HardSwish"
        | "Hardmax"
        | "LeakyRelu"
        | "Log"
        | "LogSoftmax"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "Mish"
        | "Not"
        | "Reciprocal"
        | "Relu"
        | "Round"
        | "ScatterElements"
        | "ScatterND"
        | "Selu"
        | "Shrink"
        | "Sigmoid"
        | "Sign"
        | "Sin"
        | "Sinh"
        | "Softmax"
        | "Softplus"
        | "Softsign"
        | "Swish"
        | "Tan"
        | "Tanh"
        | "ThresholdedRelu"
        | "Trilu" => elementwise::same,
        "Identity" | "Dropout" => elementwise::passed_on,
        "Ceil" | "Floor" | "Neg" | "Sqrt" => elementwise::mapped,
        "IsInf" | "IsNaN" => elementwise::tested,
        "Cast" => elementwise::cast,
        "Add" | "And" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "Clip" | "Div" | "Max" | "Mean"
        | "Min" | "Mod" | "Mul" | "Or" | "PRelu" | "Pow" | "Sub" | "Sum" | "Xor" => elementwise::broadcasting,
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => elementwise::compared,
        "Where" => elementwise::chosen,
        "QuantizeLinear" => elementwise::quantized,
        "DequantizeLinear" => elementwise::dequantized,
        "DynamicQuantizeLinear" => elementwise::quantized_by_itself,
        "BatchNormalization" | "InstanceNormalization" => elementwise::normalised_by_channel,
        "LayerNormalization" | "RMSNormalization" => elementwise::normalised,

        "Conv" => windows::convolution,
        "ConvInteger" => windows::integer_convolution,
        "QLinearConv" => windows::quantized_convolution,
        "ConvTranspose" => windows::transposed_convolution,
        "AveragePool" | "LpPool" | "MaxPool" => windows::pooling,
        "GlobalAveragePool" | "GlobalLpPool" | "GlobalMaxPool" => windows::global_pooling,
        "Resize" | "Upsample" => windows::resize,
        "LRN" => windows::local_response,

        "Einsum" => products::einsum,
        "GRU" | "LSTM" | "RNN" => products::recurrent,
        "Gemm" => products::gemm,
        "MatMul" | "MatMulInteger" => products::matmul,
        "QLinearMatMul" => products::quantized_matmul,
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin"
        | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => products::reduction,
        "ArgMax" | "ArgMin" => products::extreme,
        "TopK" => products::top,

        "Concat" => layout::concat,
        "Constant" => layout::constant,
        "ConstantOfShape" => layout::constant_of_shape,
        "DepthToSpace" => layout::depth_to_space,
        "Expand" => layout::expand,
        "Flatten" => layout::flatten,
        "Gather" => layout::gather,
        "GatherElements" => layout::gather_elements,
        "GatherND" => layout::gather_nd,
        "OneHot" => layout::one_hot,
        "Pad" => layout::pad,
        "Range" => layout::range,
        "Reshape" => layout::reshape,
        "Shape" => layout::shape,
        "Size" => layout::size,
        "Slice" => layout::slice,
        "SpaceToDepth" => layout::space_to_depth,
        "Split" => layout::split,
        "Squeeze" => layout::squeeze,
        "Tile" => layout::tile,
        "Transpose" => layout::transpose,
        "Unsqueeze" => layout::unsqueeze,
        _ => return None,
    };
    Some(rule)
}

/// ONNX Runtime's own operators, as its quantizer and its optimiser write them.
fn microsoft(operator: &str) -> Option<Rule> {
    let rule: Rule = match operator {
        "BiasGelu" => elementwise::broadcasting,
        "QLinearAdd" | "QLinearMul" => elementwise::quantized_broadcasting,
        "FastGelu" | "Gelu" | "QLinearLeakyRelu" | "QLinearSigmoid" | "QLinearSoftmax" | "QuickGelu" => {
            elementwise::same
        }
        "DequantizeLinear" => elementwise::dequantized,
        "QuantizeLinear" => elementwise::quantized,
        "FusedConv" => windows::convolution,
        "QLinearAveragePool" => windows::pooling,
        "QLinearGlobalAveragePool" => windows::global_pooling,
        "QGemm" => products::quantized_gemm,
        "QLinearConcat" => layout::quantized_concat,
        _ => return None,
    };
    Some(rule)
}
