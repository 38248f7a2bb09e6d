/** Black-box tests against QEMU's tools and real file systems. */
@NullMarked
package dev.imago.interop;

import org.jspecify.annotations.NullMarked;
