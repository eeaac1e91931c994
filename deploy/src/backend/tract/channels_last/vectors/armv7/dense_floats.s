// Dense convolutions of floats with the NEON of 32-bit ARM. `mod.rs` says how they are called.
//
// The registers d8 to d15 (q4 to q7) belong to the caller, so they are saved.

.syntax unified
.arch armv7-a
.fpu neon
.arm

// Each macro below is for one pixel of a tile, whose sums of eight outputs are \low and \high.

// Adds the products of two input values with eight weights each.
.macro deploy_two_products low, high, half
    vmla.f32 \low, q4, \half[0]
    vmla.f32 \high, q5, \half[0]
    vmla.f32 \low, q6, \half[1]
    vmla.f32 \high, q7, \half[1]
.endm

// Adds the products of one input value with eight weights.
.macro deploy_one_product low, high, half
    vmla.f32 \low, q4, \half[0]
    vmla.f32 \high, q5, \half[0]
.endm

// Clamps the sums to the bounds.
.macro deploy_clamped low, high
    vmax.f32 \low, \low, q0
    vmax.f32 \high, \high, q0
    vmin.f32 \low, \low, q1
    vmin.f32 \high, \high, q1
.endm

// Writes the values to the place of the pixel, from the first output on.
.macro deploy_stored place, low, high
    ldr r4, [r1, #8 * \place + 4]
    add r4, r4, r9
    vst1.32 {\low, \high}, [r4]
.endm

// void NAME(const struct Tiles *): tiles of \count pixels and eight outputs.
//   r0 the arguments, r1 the places, r2 the weights, r3 steps that are left, r4 to r7 the windows, r8 runs that are
//   left, r9 a number of the arguments, r12 tiles that are left
//   q0 to q3 the input of each pixel, q4 to q7 weights, q8 to q15 the sums of each pixel
.macro deploy_dense name, count
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
3: // A run: four values of each pixel at a time.
    ldr r3, [r0, #20]
    cmp r3, #0
    beq 5f
4:
    vld1.32 {q0}, [r4]!
    .if \count > 1
    vld1.32 {q1}, [r5]!
    .endif
    .if \count > 2
    vld1.32 {q2}, [r6]!
    .endif
    .if \count > 3
    vld1.32 {q3}, [r7]!
    .endif
    vldmia r2!, {q4-q7}
    deploy_two_products q8, q9, d0
    .if \count > 1
    deploy_two_products q10, q11, d2
    .endif
    .if \count > 2
    deploy_two_products q12, q13, d4
    .endif
    .if \count > 3
    deploy_two_products q14, q15, d6
    .endif
    vldmia r2!, {q4-q7}
    subs r3, r3, #1
    deploy_two_products q8, q9, d1
    .if \count > 1
    deploy_two_products q10, q11, d3
    .endif
    .if \count > 2
    deploy_two_products q12, q13, d5
    .endif
    .if \count > 3
    deploy_two_products q14, q15, d7
    .endif
    bne 4b
5: // What is left of the run, one value at a time.
    ldr r3, [r0, #24]
    cmp r3, #0
    beq 7f
6:
    vld1.32 {d0[0]}, [r4]!
    .if \count > 1
    vld1.32 {d2[0]}, [r5]!
    .endif
    .if \count > 2
    vld1.32 {d4[0]}, [r6]!
    .endif
    .if \count > 3
    vld1.32 {d6[0]}, [r7]!
    .endif
    vldmia r2!, {q4-q5}
    subs r3, r3, #1
    deploy_one_product q8, q9, d0
    .if \count > 1
    deploy_one_product q10, q11, d2
    .endif
    .if \count > 2
    deploy_one_product q12, q13, d4
    .endif
    .if \count > 3
    deploy_one_product q14, q15, d6
    .endif
    bne 6b
7: // The next run is in the next row.
    subs r8, r8, #1
    beq 8f
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
8:
    add r3, r0, #36
    vld1.32 {d0[], d1[]}, [r3]!
    vld1.32 {d2[], d3[]}, [r3]
    ldr r9, [r0, #32]
    deploy_clamped q8, q9
    deploy_stored 0, q8, q9
    .if \count > 1
    deploy_clamped q10, q11
    deploy_stored 1, q10, q11
    .endif
    .if \count > 2
    deploy_clamped q12, q13
    deploy_stored 2, q12, q13
    .endif
    .if \count > 3
    deploy_clamped q14, q15
    deploy_stored 3, q14, q15
    .endif
    subs r12, r12, #1
    add r1, r1, #8 * \count
    bne 2b
    vpop {d8-d15}
    pop {r4-r9, pc}
    .size \name, . - \name
.endm

deploy_dense deploy_dense_floats_1, 1
deploy_dense deploy_dense_floats_2, 2
deploy_dense deploy_dense_floats_3, 3
deploy_dense deploy_dense_floats_4, 4
