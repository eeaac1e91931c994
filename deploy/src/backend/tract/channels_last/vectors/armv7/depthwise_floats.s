// Depthwise convolutions of floats with the NEON of 32-bit ARM. `mod.rs` says how they are called.
//
// The registers d8 to d15 (q4 to q7) belong to the caller, so they are saved.

.syntax unified
.arch armv7-a
.fpu neon
.arm

// A column of the input contributes to the results before, at and after it, whose sums are in three registers. Each
// column is read once.
//   r0 the arguments, r1 to r3 the rows of the input, r4 the output, r5 columns that are left, r6 bytes of a pixel,
//   r7 the weights, r8 the bias, r9 vectors of channels that are left, r12 bytes from the first vector on
//   q0 to q8 the weights, one column of the kernel after the other, q9 to q11 sums, q12 and q13 input, q14 and q15 the
//   bounds

.macro deploy_depthwise_begin name
    .p2align 4
    .globl \name
    .hidden \name
    .type \name, %function
\name:
    push {r4-r9, lr}
    vpush {d8-d15}
    ldr r6, [r0, #16]
    ldr r7, [r0, #20]
    ldr r8, [r0, #24]
    ldr r9, [r0, #28]
    mov r12, #0
    add r1, r0, #36
    vld1.32 {d28[], d29[]}, [r1]!
    vld1.32 {d30[], d31[]}, [r1]
2: // A vector of channels. The weights of a column are those of three rows, of 2 * 4 that are stored.
    ldm r0, {r1-r4}
    ldr r5, [r0, #32]
    vldmia r7!, {q0-q2}
    add r1, r1, r12
    add r2, r2, r12
    add r7, r7, #80
    vldmia r7!, {q3-q5}
    add r3, r3, r12
    add r4, r4, r12
    add r7, r7, #80
    vldmia r7!, {q6-q8}
    add r7, r7, #80
.endm

.macro deploy_depthwise_end name
    subs r9, r9, #1
    add r12, r12, #16
    add r8, r8, #16
    bne 2b
    vpop {d8-d15}
    pop {r4-r9, pc}
    .size \name, . - \name
.endm

// Clamps and writes a result, and goes on with the vector's end after the last one.
.macro deploy_result sums
    vmax.f32 \sums, \sums, q14
    subs r5, r5, #1
    vmin.f32 \sums, \sums, q15
    vst1.32 {\sums}, [r4], r6
    beq 9f
.endm

// A column's first contribution to a sum.
.macro deploy_first_column sums
    vld1.32 {q12}, [r1], r6
    vld1.32 {\sums}, [r8]
    vld1.32 {q13}, [r2], r6
    vmla.f32 \sums, q12, q0
    vld1.32 {q12}, [r3], r6
    vmla.f32 \sums, q13, q1
    vmla.f32 \sums, q12, q2
.endm

// With a stride of 1: a column that is the right one of \right, the middle one of \middle and the left one of \left.
.macro deploy_column_of_three right, middle, left
    vld1.32 {q12}, [r1], r6
    vld1.32 {q13}, [r2], r6
    vld1.32 {\left}, [r8]
    vmla.f32 \right, q12, q6
    vmla.f32 \middle, q12, q3
    vmla.f32 \left, q12, q0
    vld1.32 {q12}, [r3], r6
    vmla.f32 \right, q13, q7
    vmla.f32 \middle, q13, q4
    vmla.f32 \left, q13, q1
    vmla.f32 \right, q12, q8
    vmla.f32 \middle, q12, q5
    vmla.f32 \left, q12, q2
    deploy_result \right
.endm

// void NAME(const struct Row *): a row of the output with a stride of 1.
deploy_depthwise_begin deploy_depthwise_floats_1
    deploy_first_column q9
    vld1.32 {q12}, [r1], r6
    vld1.32 {q13}, [r2], r6
    vld1.32 {q10}, [r8]
    vmla.f32 q9, q12, q3
    vmla.f32 q10, q12, q0
    vld1.32 {q12}, [r3], r6
    vmla.f32 q9, q13, q4
    vmla.f32 q10, q13, q1
    vmla.f32 q9, q12, q5
    vmla.f32 q10, q12, q2
3:
    deploy_column_of_three q9, q10, q11
    deploy_column_of_three q10, q11, q9
    deploy_column_of_three q11, q9, q10
    b 3b
9:
deploy_depthwise_end deploy_depthwise_floats_1

// With a stride of 2: the middle and the right column of \current. The latter is the left one of \next.
.macro deploy_two_columns current, next
    vld1.32 {q12}, [r1], r6
    vld1.32 {q13}, [r2], r6
    vmla.f32 \current, q12, q3
    vld1.32 {q12}, [r3], r6
    vmla.f32 \current, q13, q4
    vld1.32 {\next}, [r8]
    vld1.32 {q13}, [r1], r6
    vmla.f32 \current, q12, q5
    vld1.32 {q12}, [r2], r6
    vmla.f32 \next, q13, q0
    vmla.f32 \current, q13, q6
    vld1.32 {q13}, [r3], r6
    vmla.f32 \next, q12, q1
    vmla.f32 \current, q12, q7
    vmla.f32 \next, q13, q2
    vmla.f32 \current, q13, q8
    deploy_result \current
.endm

// void NAME(const struct Row *): a row of the output with a stride of 2.
deploy_depthwise_begin deploy_depthwise_floats_2
    deploy_first_column q9
3:
    deploy_two_columns q9, q10
    deploy_two_columns q10, q9
    b 3b
9:
deploy_depthwise_end deploy_depthwise_floats_2
