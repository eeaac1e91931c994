// Dense convolutions of bytes with the NEON of 32-bit ARM. `mod.rs` says how they are called.
//
// Bytes are extended to 16 bits, and their products are added in 32 bits. The registers d8 to d15 (q4 to q7) belong to
// the caller, so they are saved.

.syntax unified
.arch armv7-a
.fpu neon
.arm

// Each macro below is for one pixel of a tile, whose sums of eight outputs are \low and \high.

// Adds the products of two input values with eight weights each.
.macro deploy_two_bytes low, high, half, first, second
    vmlal.s16 \low, d8, \half[\first]
    vmlal.s16 \high, d9, \half[\first]
    vmlal.s16 \low, d10, \half[\second]
    vmlal.s16 \high, d11, \half[\second]
.endm

// Turns sums into steps of the output's scale, limits them, and rounds them to the nearest integer, ties to even.
.macro deploy_steps sums, factors, least, most, rounding
    vcvt.f32.s32 \sums, \sums
    vmul.f32 \sums, \sums, \factors
    vmax.f32 \sums, \sums, \least
    vmin.f32 \sums, \sums, \most
    vadd.f32 \sums, \sums, \rounding
.endm

// Writes the bytes to the place of the pixel, from the first output on.
.macro deploy_store_bytes place, low, high
    deploy_steps \low, q4, q0, q1, q2
    deploy_steps \high, q5, q0, q1, q2
    ldr r4, [r1, #8 * \place + 4]
    vmovn.i32 d12, \low
    vmovn.i32 d13, \high
    add r4, r4, r9
    vadd.i16 q6, q6, q3
    vmovn.i16 d12, q6
    vst1.8 {d12}, [r4]
.endm

// Two input values of all pixels.
.macro deploy_two_values count, half0, half1, half2, half3, first, second
    deploy_two_bytes q8, q9, \half0, \first, \second
    .if \count > 1
    deploy_two_bytes q10, q11, \half1, \first, \second
    .endif
    .if \count > 2
    deploy_two_bytes q12, q13, \half2, \first, \second
    .endif
    .if \count > 3
    deploy_two_bytes q14, q15, \half3, \first, \second
    .endif
.endm

// Four input values of all pixels.
.macro deploy_four_values count, half0, half1, half2, half3
    vldmia r2!, {d12-d15}
    vmovl.s8 q4, d12
    vmovl.s8 q5, d13
    deploy_two_values \count, \half0, \half1, \half2, \half3, 0, 1
    vmovl.s8 q4, d14
    vmovl.s8 q5, d15
    deploy_two_values \count, \half0, \half1, \half2, \half3, 2, 3
.endm

// void NAME(const struct Tiles *): tiles of \count pixels and eight outputs.
//   r0 the arguments, r1 the places, r2 the weights, r3 steps that are left, r4 to r7 the windows, r8 runs that are
//   left, r9 a number of the arguments, r12 tiles that are left
//   q0 to q3 the input of each pixel, q4 to q7 weights, q8 to q15 the sums of each pixel
.macro deploy_dense_bytes name, count
    .p2align 4
    .globl \name
    .hidden \name
    .type \name, %function
\name:
    push {r4-r9, lr}
    vpush {d8-d15}
    ldr r1, [r0]
    ldr r12, [r0, #4]
2: // A tile: the sums start with the bias.
    ldr r2, [r0, #8]
    ldr r3, [r0, #12]
    ldr r8, [r0, #16]
    ldr r4, [r1]
    vld1.32 {q8, q9}, [r3]
    .if \count > 1
    ldr r5, [r1, #8]
    vld1.32 {q10, q11}, [r3]
    .endif
    .if \count > 2
    ldr r6, [r1, #16]
    vld1.32 {q12, q13}, [r3]
    .endif
    .if \count > 3
    ldr r7, [r1, #24]
    vld1.32 {q14, q15}, [r3]
    .endif
3: // A run: eight values of each pixel at a time.
    ldr r3, [r0, #20]
4:
    vld1.8 {d0}, [r4]!
    .if \count > 1
    vld1.8 {d2}, [r5]!
    .endif
    .if \count > 2
    vld1.8 {d4}, [r6]!
    .endif
    .if \count > 3
    vld1.8 {d6}, [r7]!
    .endif
    vmovl.u8 q0, d0
    .if \count > 1
    vmovl.u8 q1, d2
    .endif
    .if \count > 2
    vmovl.u8 q2, d4
    .endif
    .if \count > 3
    vmovl.u8 q3, d6
    .endif
    subs r3, r3, #1
    deploy_four_values \count, d0, d2, d4, d6
    deploy_four_values \count, d1, d3, d5, d7
    bne 4b
    // The next run is in the next row.
    subs r8, r8, #1
    beq 7f
    ldr r9, [r0, #28]
    add r4, r4, r9
    .if \count > 1
    add r5, r5, r9
    .endif
    .if \count > 2
    add r6, r6, r9
    .endif
    .if \count > 3
    add r7, r7, r9
    .endif
    b 3b
7:
    ldr r3, [r0, #36]
    vld1.32 {q4, q5}, [r3]
    add r3, r0, #40
    vld1.32 {d0[], d1[]}, [r3]!
    vld1.32 {d2[], d3[]}, [r3]!
    vld1.32 {d4[], d5[]}, [r3]!
    vld1.16 {d6[], d7[]}, [r3]
    ldr r9, [r0, #32]
    deploy_store_bytes 0, q8, q9
    .if \count > 1
    deploy_store_bytes 1, q10, q11
    .endif
    .if \count > 2
    deploy_store_bytes 2, q12, q13
    .endif
    .if \count > 3
    deploy_store_bytes 3, q14, q15
    .endif
    subs r12, r12, #1
    add r1, r1, #8 * \count
    bne 2b
    vpop {d8-d15}
    pop {r4-r9, pc}
    .size \name, . - \name
.endm

deploy_dense_bytes deploy_dense_bytes_1, 1
deploy_dense_bytes deploy_dense_bytes_2, 2
deploy_dense_bytes deploy_dense_bytes_3, 3
deploy_dense_bytes deploy_dense_bytes_4, 4
