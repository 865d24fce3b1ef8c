/* Wrappers that must not stand between the caller and the original.
 *
 * The loader resolves RUNPATH and $ORIGIN of a dlopen, the scope of a dlsym and the namespace of
 * either by the address that the call returns to; vfork returns twice through the same stack frame.
 * So these wrappers do their small work and jump, with arguments, stack and return address as they
 * came. Compilers do not promise that, hence assembly; it is the same at every optimisation level.
 *
 *   dlopen, dlmopen   mark the thread: objects may have been loaded (CMR_GUARD_RESCAN)
 *   dlsym, dlvsym     catch up if the thread is marked, as a new object is entered by its symbols; and
 *                     count lookups of functions whose calls would then not be seen
 *   vfork             count */
#include <stddef.h>

#include "hook/hooks.h"
#include "hook/table.h"

/* As written in the assembly below. */
_Static_assert(CMR_GUARD_RESCAN == 0x1f0000, "bits in the assembly");
_Static_assert(offsetof(struct cmr_tls, guard) == 0, "the guard is the first word");
_Static_assert(CMR_CHILD_VFORK == 1 && sizeof cmr_children[0] == 8, "counter in the assembly");

#ifdef CMR_DYNAMIC_TLS
/* The thread's block has no fixed place in this build: finding it is left to the compiler. */
__attribute__((used)) void cmr_hooks_mark(void);

void cmr_hooks_mark(void)
{
	(void)cmr_guard_raise(CMR_GUARD_RESCAN);
}
#endif

#define BEGIN(name)                                                                               \
	".text\n.p2align 4\n.globl cmr_hook_" name "\n.hidden cmr_hook_" name                     \
	"\n.type cmr_hook_" name ", %function\ncmr_hook_" name ":\n.cfi_startproc\n"
#define END(name) ".cfi_endproc\n.size cmr_hook_" name ", . - cmr_hook_" name "\n"

#if defined(__x86_64__)

#define LANDING "endbr64\n"
#define JUMP(name) "jmp *cmr_tail_" name "(%rip)\n"
/* Around a call: the arguments, of which there are three at most. */
#define SAVE                                                                                      \
	"pushq %rdi\n.cfi_adjust_cfa_offset 8\n"                                                  \
	"pushq %rsi\n.cfi_adjust_cfa_offset 8\n"                                                  \
	"pushq %rdx\n.cfi_adjust_cfa_offset 8\n"
#define RESTORE                                                                                   \
	"popq %rdx\n.cfi_adjust_cfa_offset -8\n"                                                  \
	"popq %rsi\n.cfi_adjust_cfa_offset -8\n"                                                  \
	"popq %rdi\n.cfi_adjust_cfa_offset -8\n"
#ifdef CMR_DYNAMIC_TLS
#define MARK SAVE "call cmr_hooks_mark\n" RESTORE
#else
#define MARK                                                                                      \
	"movq cmr_tls@gottpoff(%rip), %r11\n"                                                     \
	"orq $0x1f0000, %fs:(%r11)\n"
#endif
#define ON_LOOKUP                                                                                 \
	SAVE                                                                                      \
	"movq %rsi, %rdi\n"                                                                       \
	"movq 24(%rsp), %rsi\n" /* where the call returns to */                                   \
	"call cmr_hooks_on_lookup\n" RESTORE
#define COUNT_VFORK "lock addq $1, cmr_children+8(%rip)\n"

#elif defined(__aarch64__)

#define LANDING "hint #34\n" /* bti c */
#define JUMP(name)                                                                                \
	"adrp x16, cmr_tail_" name "\n"                                                           \
	"ldr x16, [x16, #:lo12:cmr_tail_" name "]\n"                                              \
	"br x16\n"
#define SAVE                                                                                      \
	"hint #25\n" /* paciasp: the return address goes through memory */                       \
	".cfi_negate_ra_state\n"                                                                  \
	"stp x29, x30, [sp, #-48]!\n"                                                             \
	".cfi_def_cfa_offset 48\n.cfi_offset 29, -48\n.cfi_offset 30, -40\n"                      \
	"mov x29, sp\n"                                                                           \
	"stp x0, x1, [sp, #16]\n"                                                                 \
	"str x2, [sp, #32]\n"
#define RESTORE                                                                                   \
	"ldr x2, [sp, #32]\n"                                                                     \
	"ldp x0, x1, [sp, #16]\n"                                                                 \
	"ldp x29, x30, [sp], #48\n"                                                               \
	".cfi_restore 29\n.cfi_restore 30\n.cfi_def_cfa_offset 0\n"                               \
	"hint #29\n" /* autiasp */                                                                \
	".cfi_negate_ra_state\n"
#ifdef CMR_DYNAMIC_TLS
#define MARK SAVE "bl cmr_hooks_mark\n" RESTORE
#else
#define MARK                                                                                      \
	"adrp x16, :gottprel:cmr_tls\n"                                                           \
	"ldr x16, [x16, #:gottprel_lo12:cmr_tls]\n"                                               \
	"mrs x17, tpidr_el0\n"                                                                    \
	"add x16, x16, x17\n"                                                                     \
	"ldr x17, [x16]\n"                                                                        \
	"orr x17, x17, #0x1f0000\n"                                                                \
	"str x17, [x16]\n"
#endif
#define ON_LOOKUP                                                                                 \
	"mov x17, x30\n" SAVE                                                                     \
	"mov x0, x1\n"                                                                            \
	"mov x1, x17\n"                                                                           \
	"bl cmr_hooks_on_lookup\n" RESTORE
#define COUNT_VFORK                                                                               \
	"adrp x16, cmr_children+8\n"                                                              \
	"add x16, x16, #:lo12:cmr_children+8\n"                                                   \
	"1: ldxr x17, [x16]\n"                                                                    \
	"add x17, x17, #1\n"                                                                      \
	"stxr w15, x17, [x16]\n"                                                                  \
	"cbnz w15, 1b\n"

#else
#error "no tail jumps for this processor yet"
#endif

__asm__(BEGIN("dlopen") LANDING MARK JUMP("dlopen") END("dlopen"));
__asm__(BEGIN("dlmopen") LANDING MARK JUMP("dlmopen") END("dlmopen"));
__asm__(BEGIN("dlsym") LANDING ON_LOOKUP JUMP("dlsym") END("dlsym"));
__asm__(BEGIN("dlvsym") LANDING ON_LOOKUP JUMP("dlvsym") END("dlvsym"));
__asm__(BEGIN("vfork") LANDING COUNT_VFORK JUMP("vfork") END("vfork"));
