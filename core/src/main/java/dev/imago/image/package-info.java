/** The contract: what a virtual disk image is and which errors it raises. */
@NullMarked
package dev.imago.image;

import org.jspecify.annotations.NullMarked;
