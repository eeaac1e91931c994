// Depthwise convolutions of bytes with the NEON of 32-bit ARM. `mod.rs` says how they are called.
//
// Bytes are extended to 16 bits, and their products are added in 32 bits. The registers d8 to d15 (q4 to q7) belong to
// the caller, so they are saved.

.syntax unified
.arch armv7-a
.fpu neon
.arm

// A column of the input contributes to the results before, at and after it, whose sums are in three registers. Each
// column is read once.
//   r0 the arguments, r1 to r3 the rows of the input, r4 the output, r5 columns that are left, r6 bytes of a pixel,
//   r7 the weights, r8 the bias, r9 vectors of channels that are left, r10 the factors, r12 bytes from the first vector
//   on
//   d0 to d8 the weights, one column of the kernel after the other, d9 the zero point, q5 what rounds, q6 the result,
//   q7 the factors, q9 to q11 sums, q12 and q13 input, q14 and q15 the bounds

.macro deploy_bytes_begin name
    .p2align 4
    .globl \name
    .hidden \name
    .type \name, %function
\name:
    push {r4-r10, lr}
    vpush {d8-d15}
    ldr r6, [r0, #16]
    ldr r7, [r0, #20]
    ldr r8, [r0, #24]
    ldr r9, [r0, #28]
    ldr r10, [r0, #36]
    mov r12, #0
    add r1, r0, #40
    vld1.32 {d28[], d29[]}, [r1]!
    vld1.32 {d30[], d31[]}, [r1]!
    vld1.32 {d10[], d11[]}, [r1]!
    vld1.16 {d9[]}, [r1]
2: // A vector of channels. The weights of a column are those of three rows, of 2 * 4 that are stored.
    ldm r0, {r1-r4}
    ldr r5, [r0, #32]
    vldmia r7!, {d0-d2}
    add r1, r1, r12
    add r2, r2, r12
    add r7, r7, #40
    vldmia r7!, {d3-d5}
    add r3, r3, r12
    add r4, r4, r12
    add r7, r7, #40
    vldmia r7!, {d6-d8}
    add r7, r7, #40
    vld1.32 {q7}, [r10]!
.endm

.macro deploy_bytes_end name
    subs r9, r9, #1
    add r12, r12, #4
    add r8, r8, #16
    bne 2b
    vpop {d8-d15}
    pop {r4-r10, pc}
    .size \name, . - \name
.endm

// The next value of each channel in a row, as 16-bit numbers in the lower half.
.macro deploy_value whole, half, row
    vld1.32 {\half[0]}, [\row], r6
    vmovl.u8 \whole, \half
.endm

// Writes a result, and goes on with the vector's end after the last one.
.macro deploy_byte_result sums
    deploy_steps \sums, q7, q14, q15, q5
    subs r5, r5, #1
    vmovn.i32 d12, \sums
    vadd.i16 d12, d12, d9
    vmovn.i16 d12, q6
    vst1.32 {d12[0]}, [r4], r6
    beq 9f
.endm

// A column's first contribution to a sum.
.macro deploy_first_bytes sums
    vld1.32 {\sums}, [r8]
    deploy_value q12, d24, r1
    deploy_value q13, d26, r2
    vmlal.s16 \sums, d24, d0
    deploy_value q12, d24, r3
    vmlal.s16 \sums, d26, d1
    vmlal.s16 \sums, d24, d2
.endm

// With a stride of 1: a column that is the right one of \right, the middle one of \middle and the left one of \left.
.macro deploy_bytes_of_three right, middle, left
    vld1.32 {\left}, [r8]
    deploy_value q12, d24, r1
    deploy_value q13, d26, r2
    vmlal.s16 \right, d24, d6
    vmlal.s16 \middle, d24, d3
    vmlal.s16 \left, d24, d0
    deploy_value q12, d24, r3
    vmlal.s16 \right, d26, d7
    vmlal.s16 \middle, d26, d4
    vmlal.s16 \left, d26, d1
    vmlal.s16 \right, d24, d8
    vmlal.s16 \middle, d24, d5
    vmlal.s16 \left, d24, d2
    deploy_byte_result \right
.endm

// void NAME(const struct Row *): a row of the output with a stride of 1.
deploy_bytes_begin deploy_depthwise_bytes_1
    deploy_first_bytes q9
    deploy_value q12, d24, r1
    deploy_value q13, d26, r2
    vld1.32 {q10}, [r8]
    vmlal.s16 q9, d24, d3
    vmlal.s16 q10, d24, d0
    deploy_value q12, d24, r3
    vmlal.s16 q9, d26, d4
    vmlal.s16 q10, d26, d1
    vmlal.s16 q9, d24, d5
    vmlal.s16 q10, d24, d2
3:
    deploy_bytes_of_three q9, q10, q11
    deploy_bytes_of_three q10, q11, q9
    deploy_bytes_of_three q11, q9, q10
    b 3b
9:
deploy_bytes_end deploy_depthwise_bytes_1

// With a stride of 2: the middle and the right column of \current. The latter is the left one of \next.
.macro deploy_two_byte_columns current, next
    deploy_value q12, d24, r1
    deploy_value q13, d26, r2
    vmlal.s16 \current, d24, d3
    deploy_value q12, d24, r3
    vmlal.s16 \current, d26, d4
    vld1.32 {\next}, [r8]
    deploy_value q13, d26, r1
    vmlal.s16 \current, d24, d5
    deploy_value q12, d24, r2
    vmlal.s16 \next, d26, d0
    vmlal.s16 \current, d26, d6
    deploy_value q13, d26, r3
    vmlal.s16 \next, d24, d1
    vmlal.s16 \current, d24, d7
    vmlal.s16 \next, d26, d2
    vmlal.s16 \current, d26, d8
    deploy_byte_result \current
.endm

// void NAME(const struct Row *): a row of the output with a stride of 2.
deploy_bytes_begin deploy_depthwise_bytes_2
    deploy_first_bytes q9
3:
    deploy_two_byte_columns q9, q10
    deploy_two_byte_columns q10, q9
    b 3b
9:
deploy_bytes_end deploy_depthwise_bytes_2
