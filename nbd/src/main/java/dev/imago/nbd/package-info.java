/** Serving images over NBD, and using what others serve. See docs/nbd.md. */
@NullMarked
package dev.imago.nbd;

import org.jspecify.annotations.NullMarked;
